"""What a plan says an operation adds is what the cut network has: parameters, buffers, FLOPs, activations."""

import functools

import pytest
import timm
import torch
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

import surgeon
from surgeon.errors import SelectionError
from surgeon.graph.measuring.measure import measure
from surgeon.methods.needs import needs_data
from surgeon.recipe import load_recipe, shipped
from surgeon.training import adversarial_noise

SIZE = (3, 32, 32)
SURGERY = [r for r in shipped() if load_recipe(r).surgery]
EXACT = ("soft-pool", "small-image", "smooth-init")
"""Recipes whose layers compute convolutions alone, which torch counts; sums of others are counted by the plan alone."""


@functools.cache
def stock(name):
    torch.manual_seed(0)
    if name == "resnet":
        return timm.create_model(
            "resnet18", num_classes=4, channels=(8, 8, 16, 16), layers=(1, 1, 1, 1)
        ).eval()
    return timm.create_model(
        "vit_tiny_patch16_224", num_classes=4, img_size=32, depth=2, embed_dim=48, num_heads=3
    ).eval()


def planned_and_cut(name, recipe, calibrated):
    images = torch.rand(32, *SIZE, generator=torch.Generator().manual_seed(1)) if calibrated else None
    try:
        plan = surgeon.plan(stock(name), recipe, input_size=SIZE, calibrated=calibrated, trained=calibrated)
    except SelectionError:
        pytest.skip("no site")
    if images is None and needs_data(plan):
        pytest.skip("needs images")
    return plan, surgeon.apply(stock(name), plan, calibration=images).eval()


def memory(cut):
    """The numbers that a training step makes CANL's layers keep: no buffers, and in the plan all the same."""
    if not any(hasattr(m, "cache") for m in cut.modules()):
        return 0
    x, y = torch.rand(4, *SIZE), torch.arange(4)
    with adversarial_noise(cut.train(), x, y, cross_entropy):
        cross_entropy(cut(x), y).backward()
    cut.eval()
    return sum(m.cache.numel() for m in cut.modules() if getattr(m, "cache", None) is not None)


@functools.cache
def counted(model):
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.rand(1, *SIZE))
    return counter.get_total_flops()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("calibrated", [False, True], ids=["bare", "calibrated"])
@pytest.mark.parametrize("recipe", SURGERY)
@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_every_recipe_adds_what_its_plan_says(name, recipe, calibrated):
    plan, cut = planned_and_cut(name, recipe, calibrated)
    parameters = sum(p.numel() for p in cut.parameters()) - plan.before.parameters
    buffers = sum(b.numel() for b in cut.buffers()) - plan.before.buffers + memory(cut)
    for said in (plan.growth, cut.surgery.growth):
        assert (said.parameters, said.buffers) == (parameters, buffers)
    beyond = plan.growth.flops - (counted(cut) - counted(stock(name)))
    layers = sum(max(e.growth.activations, 0) for e in plan.edits)
    assert beyond == 0 if recipe in EXACT else beyond >= 0
    assert beyond <= 12 * (layers + plan.before.activations)


@pytest.mark.parametrize(
    "settings", [{}, {"filter_size": 2}, {"filter_size": 5}, {"select": {"skip_first": 0}}]
)
@pytest.mark.parametrize("at", ["conv", "pool"])
def test_a_blur_is_counted_on_the_padded_image(at, settings):
    recipe = {"op": "blur-pool", "at": at, **settings}
    plan, cut = planned_and_cut("resnet", recipe, False)
    maxima = 0
    if at == "pool":
        size = 18 - 2  # 16×16 with a margin of 1, under a window of 3
        maxima = 9 * 64 * size * size
    assert plan.growth.flops - maxima == counted(cut) - counted(stock("resnet"))
    assert plan.after.activations == measure(cut, SIZE).activations
