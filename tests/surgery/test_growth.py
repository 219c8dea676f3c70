"""What a plan says that a cut costs, against what the cut network does: counted anew, from its outputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import surgeon

SIZE = (3, 32, 32)


def _network() -> nn.Module:
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 16, 7, stride=2, padding=3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    body = [
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    ]
    return nn.Sequential(*stem, *body).eval()


def _counted(model: nn.Module) -> tuple[int, int]:
    """FLOPs of products and convolutions for one image, and the numbers that layers write."""
    written = 0

    def add(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal written
        written += output.numel()

    handles = [m.register_forward_hook(add) for m in model.modules() if not list(m.children())]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *SIZE))
    for handle in handles:
        handle.remove()
    return counter.get_total_flops(), written


def test_layers_behind_a_stem_for_small_images_cost_what_their_larger_maps_cost() -> None:
    stock = _network()
    cut = surgeon.apply(stock, "small-image", input_size=SIZE)
    plan = cut.surgery
    assert (plan.before.flops, plan.before.activations) == _counted(stock)
    flops, written = _counted(cut)
    assert plan.after.flops == flops > 2 * plan.before.flops
    assert plan.after.activations == written > 2 * plan.before.activations
    assert plan.factor("flops") == pytest.approx(flops / plan.before.flops)


@pytest.mark.parametrize("kernel", ["gaussian", "learned"])
def test_a_pooling_with_a_weighted_window_costs_a_product_with_its_matrix(kernel: str) -> None:
    stock = _network()
    settings = {"kap.kernel": kernel}
    cut = surgeon.apply(stock, "kap", input_size=SIZE, settings=settings, trained=True).eval()
    plan = cut.surgery
    assert plan.growth.flops == _counted(cut)[0] - _counted(stock)[0] > 0


@pytest.mark.parametrize("recipe", ["kap+small-image", "small-image+kap"])
def test_a_layer_costs_what_it_does_on_the_maps_that_the_whole_recipe_makes(recipe: str) -> None:
    settings = {"kap.kernel": "gaussian"}
    cut = surgeon.apply(_network(), recipe, input_size=SIZE, settings=settings, trained=True).eval()
    assert cut.surgery.after.flops == _counted(cut)[0]


class Attends(nn.Module):
    """`how`: torch alone can count it, its code makes a tensor of its own, or it asks for values."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.conv, self.qkv, self.head = (
            how,
            nn.Conv2d(3, 16, 4, 4),
            nn.Linear(16, 48),
            nn.Linear(16, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).flatten(2).transpose(1, 2)
        if self.how != "plain":
            x = x + torch.ones(16)
        if self.how == "values":
            x = x[:, (torch.arange(x.shape[1]) >= 0).nonzero()[:, 0]]
        q, k, v = self.qkv(x).reshape(x.shape[0], -1, 3, 2, 8).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.head(y.transpose(1, 2).flatten(2).mean(1))


@pytest.mark.parametrize("how", ["plain", "tensor", "values"])
def test_the_products_of_attention_count_however_a_network_must_be_measured(how: str) -> None:
    tokens, heads, wide = 64, 2, 8
    layers = 2 * (
        tokens * 16 * 48 + tokens * 16 * 48 + 16 * 3
    )  # the convolution of 48 inputs, q k v, the head
    products = 2 * 2 * heads * tokens * tokens * wide
    assert surgeon.plan(Attends(how).eval(), "kap", input_size=SIZE).before.flops == layers + products
