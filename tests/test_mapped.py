"""Weights that stay on the pages of their file: the same network, nothing copied, and the file is never written to."""

import gc
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import surgeon
from surgeon.disk.hashes import sha256_of
from surgeon.errors import ArtifactError
from surgeon.models.checkpoints import lay_on
from surgeon.store.folder import WEIGHTS
from surgeon.verification import relative

SIZE = (3, 64, 64)


def written(recipe, folder):
    torch.manual_seed(0)
    stock = surgeon.create_model("resnet18", num_classes=6, input_size=SIZE)
    cut = surgeon.apply(stock, recipe, input_size=SIZE).eval()
    surgeon.save(cut, folder)
    return cut


def pages_of(path):
    """The addresses at which this process has a file mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines if line.endswith(str(path))]
    return [(int(low, 16), int(high, 16)) for low, high in spans]


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc which pages are a file's")
@pytest.mark.parametrize("mapped", [True, False])
def test_parameters_lie_in_the_file_only_where_asked(tmp_path, mapped):
    written("anl", tmp_path / "out")
    network = surgeon.load(tmp_path / "out", mapped=mapped)
    spans = pages_of(tmp_path / "out" / WEIGHTS)
    inside = [any(low <= p.data_ptr() < high for low, high in spans) for p in network.parameters()]
    assert all(inside) if mapped else not any(inside)


@pytest.mark.parametrize("recipe", ["kap", "wm-unsharp", "anl", "defective", "small-image+kap+anl"])
def test_the_network_is_the_one_that_a_copy_would_be(tmp_path, recipe):
    cut, x = written(recipe, tmp_path / "out"), torch.randn(1, *SIZE)
    network = surgeon.load(tmp_path / "out", mapped=True)
    wanted = cut.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in network.state_dict().items())
    assert relative(network(x), cut(x)) < 1e-4  # not bit for bit: its weights lie otherwise aligned
    assert network.surgery == cut.surgery
    assert relative(surgeon.revert(network)(x), surgeon.revert(cut)(x)) < 1e-4
    surgeon.save(network, tmp_path / "again")
    assert sha256_of(tmp_path / "again" / WEIGHTS) == sha256_of(tmp_path / "out" / WEIGHTS)


def test_another_device_gets_the_whole_network(tmp_path):
    cut = written("anl", tmp_path / "out")
    network = surgeon.load(tmp_path / "out", device="meta")
    assert {k: v.shape for k, v in network.state_dict().items()} == {
        k: v.shape for k, v in cut.state_dict().items()
    }
    assert all(t.is_meta for t in network.state_dict().values()) and network.surgery == cut.surgery


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_afterwards_as_it_was(tmp_path, enabled):
    written("anl", tmp_path / "out")
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        surgeon.load(tmp_path / "out")
        assert gc.isenabled() == enabled
        with pytest.raises(ArtifactError):
            surgeon.load(tmp_path)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was else gc.disable)()


def test_training_and_saving_over_it_leave_the_file_and_the_network(tmp_path):
    written("anl", tmp_path / "out")
    network = surgeon.load(tmp_path / "out", mapped=True).train()
    before = sha256_of(tmp_path / "out" / WEIGHTS)
    weights = [p.detach().clone() for p in network.parameters()]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.randn(4, *SIZE)).square().mean().backward()
    optimizer.step()
    assert any(not torch.equal(p, w) for p, w in zip(network.parameters(), weights, strict=True))
    assert sha256_of(tmp_path / "out" / WEIGHTS) == before
    trained = {k: v.clone() for k, v in network.state_dict().items()}
    surgeon.save(network, tmp_path / "out", overwrite=True)
    assert all(torch.equal(v, trained[k]) for k, v in network.state_dict().items())
    again = surgeon.load(tmp_path / "out", mapped=True).state_dict()
    assert all(torch.equal(v, trained[k]) for k, v in again.items())


def test_what_is_shared_of_another_type_or_laid_otherwise_is_as_it_would_be():
    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.low = nn.Linear(4, 4), nn.Linear(4, 4).half()
            self.tied = self.one
            self.conv = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
            self.register_buffer("count", torch.zeros(3))
            whole = torch.zeros(2, 4)
            self.upper, self.lower = nn.Parameter(whole[0]), nn.Parameter(whole[1])
            self.base = nn.Parameter(torch.zeros(5))
            self.register_buffer("seen", self.base.detach())

    torch.manual_seed(0)
    network, weights = Several(), {k: v.float().contiguous() + 1 for k, v in Several().state_dict().items()}
    parameters, strides = dict(network.named_parameters()), network.conv.weight.stride()
    network.load_state_dict(lay_on(network, weights))
    assert all(torch.equal(v, weights[k].to(v.dtype)) for k, v in network.state_dict().items())
    assert network.one.weight is network.tied.weight and dict(network.named_parameters()) == parameters
    assert network.conv.weight.stride() == strides and network.low.weight.dtype == torch.float16
    assert network.upper.untyped_storage().data_ptr() == network.lower.untyped_storage().data_ptr()
    at = {weights[k].data_ptr() for k in ("one.weight", "tied.weight")}
    assert network.one.weight.data_ptr() in at
    assert network.seen.data_ptr() == network.base.data_ptr()
    assert network.count.data_ptr() != weights["count"].data_ptr()


@pytest.mark.parametrize("kind", ["hook", "method"])
def test_layers_that_turn_what_they_load_get_a_tensor_of_their_own(kind):
    class Turned(nn.Linear):
        def _load_from_state_dict(self, state, prefix, *rest):
            turn(state, prefix)
            super()._load_from_state_dict(state, prefix, *rest)

    def turn(state, prefix, *_):
        state[f"{prefix}weight"] = state[f"{prefix}weight"].T
        state[f"{prefix}bias"].mul_(1)

    network = nn.Sequential(nn.Linear(4, 4), Turned(4, 4) if kind == "method" else nn.Linear(4, 4))
    if kind == "hook":
        network[1]._register_load_state_dict_pre_hook(turn)
    weights = {k: torch.randn_like(v) for k, v in network.state_dict().items()}
    wanted = weights["1.weight"].T.clone()
    network.load_state_dict(lay_on(network, weights))
    assert torch.equal(network[1].weight, wanted)
    assert network[0].weight.data_ptr() == weights["0.weight"].data_ptr()
