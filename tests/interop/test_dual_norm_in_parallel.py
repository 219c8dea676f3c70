"""Dual norms under DistributedDataParallel: what a plain step needs, and one with attacked images."""

import pytest
import torch
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import surgeon
from surgeon.training import auxiliary_norms
from tests.conftest import Tiny

SIZE = (3, 16, 16)


@pytest.fixture
def process(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/at", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def plain(model, x, y):
    F.cross_entropy(model(x), y).backward()


def attacked(model, x, y):
    with auxiliary_norms(model):
        other = F.cross_entropy(model(x + 0.1), y)
    (F.cross_entropy(model(x), y) + other).backward()


@pytest.mark.parametrize(
    ("step", "settings"),
    [
        (plain, {"find_unused_parameters": True}),
        (attacked, {}),
        (plain, {"static_graph": True}),
        (attacked, {"static_graph": True}),
    ],
)
def test_steps_of_each_kind_run_as_the_page_says(process, step, settings):
    torch.manual_seed(0)
    cut = surgeon.apply(Tiny(drop=0.0), "advprop", input_size=SIZE).double().train()
    alone = surgeon.apply(Tiny(drop=0.0), "advprop", input_size=SIZE).double().train()
    alone.load_state_dict(cut.state_dict())
    model = DistributedDataParallel(cut, **settings)
    x, y = torch.randn(4, *SIZE, dtype=torch.float64), torch.arange(4) % 2
    for network in (model, alone):
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            step(network, x, y)
            optimizer.step()
    torch.testing.assert_close(cut.state_dict(), alone.state_dict())


def test_a_plain_step_without_it_is_refused_by_torch(process):
    model = DistributedDataParallel(
        surgeon.apply(Tiny(drop=0.0), "advprop", input_size=SIZE).double().train()
    )
    x, y = torch.randn(4, *SIZE, dtype=torch.float64), torch.arange(4) % 2
    plain(model, x, y)
    with pytest.raises(RuntimeError, match="Expected to have finished reduction"):
        plain(model, x, y)
