"""Whatever a network's code does between its calls, a cut that changes no number gives the stock network's.

Noise layers without their noise are the identity: outputs, gradients, buffers, random numbers and errors of several
calls in a row are compared, in both modes, in float64.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import surgeon
from surgeon.graph.trees.streams import Streams, held_by, state_of
from tests.own_models.running_code import NETWORKS, SIZE, Net


def as_stock(
    kind: type[nn.Module], batches: tuple[int, ...] = (4, 4, 1, 2), recipe: str = "anl"
) -> nn.Module:
    """Compare a network with its cut over several calls in each mode; the cut one comes back."""
    torch.manual_seed(0)
    stock = kind().double()
    cut = surgeon.apply(copy.deepcopy(stock), recipe, input_size=SIZE)
    images = [torch.randn(n, *SIZE, dtype=torch.float64) for n in batches]
    for training in (True, False):
        ours, theirs = (_calls(model.train(training), images) for model in (cut, stock))
        for call, (mine, wanted) in enumerate(zip(ours, theirs, strict=True)):
            for name, value in wanted.items():
                there = mine[name]
                assert type(there) is type(value), (training, call, name, there)
                if isinstance(value, torch.Tensor):
                    torch.testing.assert_close(
                        there, value, msg=lambda m, at=(training, call, name): f"{at}: {m}"
                    )
                else:
                    assert there == value
    return cut


def _calls(model: nn.Module, images: list[torch.Tensor]) -> list[dict[str, object]]:
    torch.manual_seed(1)
    found = []
    for batch in images:
        model.zero_grad()
        try:
            out = model(batch.clone())
            out.square().sum().backward()
            result: dict[str, object] = {"out": out.detach()}
        except (RuntimeError, ValueError) as error:
            result = {"error": type(error)}
        result |= {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        result |= {
            n: b.clone() for n, b in model.state_dict().items() if n not in dict(model.named_parameters())
        }
        found.append(result | {"stream": torch.get_rng_state()})
    return found


def test_what_a_network_leaves_on_itself_is_left_by_its_graph_again() -> None:
    class Leaving(Net):
        def __init__(self) -> None:
            super().__init__()
            self.features = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.features = self.two(self.one(x))
            return self.head(self.features)

    cut = as_stock(Leaving)
    assert isinstance(cut, torch.fx.GraphModule)  # traced whole: nothing is read before it is set
    assert cut.features.shape == (2, 8, 8, 8)


def test_a_generator_that_nobody_can_put_back_is_left_out() -> None:
    net = Net()
    net.entropy, net.rngs = random.SystemRandom(), [random.Random(0), np.random.RandomState(0)]
    held = held_by(net, net)
    assert held == net.rngs
    states = [state_of(s) for s in held]
    with Streams(held).draw_again():
        assert net.rngs[0].random() != net.rngs[1].rand()
        assert states != [state_of(s) for s in held]
    assert states == [state_of(s) for s in held]


@pytest.mark.parametrize("kind", NETWORKS, ids=lambda k: k.__name__)
def test_outputs_gradients_buffers_and_draws_are_the_stock_networks(kind: Callable[[], nn.Module]) -> None:
    as_stock(kind)
