"""Every recipe on ViT-tiny, Swin-tiny, ConvNeXt-atto, MaxViT and EfficientNet keeps what every operation promises, in
both modes, or is refused for a known reason. By default shallow networks, a recipe on one of them; `make matrix` runs
all recipes on all five as they are."""

import functools
import os
import zlib

import pytest
import torch

import surgeon
from surgeon.errors import SelectionError
from surgeon.recipe import load_recipe, shipped
from surgeon.testing import check_operation

MODELS = {  # name: side of the images, arguments
    "vit_tiny_patch16_224": (32, {"img_size": 32}),
    "swin_tiny_patch4_window7_224": (32, {"img_size": 32, "window_size": 4}),
    "convnext_atto": (32, {}),
    "maxvit_pico_rw_256": (64, {"img_size": 64}),
    "efficientnet_b0": (32, {}),
}
SHALLOW = dict(
    zip(
        MODELS,
        (
            ("vit_tiny_patch16_224", 32, {"img_size": 32, "depth": 2}),
            ("swin_tiny_patch4_window7_224", 32, {"img_size": 32, "window_size": 4, "depths": (2, 1)}),
            ("convnext_atto", 32, {"depths": (1, 1, 2, 1)}),
            (
                "maxvit_pico_rw_256",
                32,
                {"img_size": 32, "depths": (1, 1), "embed_dim": (32, 64), "stem_width": 16},
            ),
            ("test_efficientnet", 32, {}),
        ),
        strict=True,
    )
)
VIT, SWIN, CONVNEXT, MAXVIT, EFFICIENTNET = MODELS
WITHOUT_BATCH_NORM = (VIT, SWIN, CONVNEXT)
NO_SITE = {
    **{(m, "advprop"): "is no batch norm" for m in WITHOUT_BATCH_NORM},
    **{
        (m, "smooth-activation"): "is no ReLU|weighs other activations|norm and activation in one"
        for m in MODELS
    },
    **{(m, "soft-pool"): "no pool site|is no max pooling" for m in MODELS},
    **{
        (m, r): "none of the 1 conv sites fits"
        for m in (VIT, SWIN)
        for r in ("blur-pool", "squeeze-excite", "wm-smoothing", "wm-unsharp")
    },
    (VIT, "small-image"): "built for the sizes that it has",
}
ANY_NORM = ["adversarial-noise.norms=any"]
NOISE = ("anl", "canl", "lat", "gaussian")
SURGERY = tuple(r for r in shipped() if load_recipe(r).surgery)
WHOLE = bool(os.environ.get("SURGEON_MATRIX"))


def settings(model, recipe):
    return ANY_NORM if model in WITHOUT_BATCH_NORM and recipe in NOISE else []


@functools.cache
def network(name):
    used, side, args = (name, *MODELS[name]) if WHOLE else SHALLOW[name]
    torch.manual_seed(0)
    made = surgeon.create_model(used, num_classes=4, input_size=(3, side, side), model_args=args)
    with torch.no_grad():  # so that batch norms in evaluation mode are not the identity
        for m in made.modules():
            if isinstance(m, torch.nn.modules.batchnorm._BatchNorm):
                m.running_mean.normal_(0, 0.1), m.running_var.uniform_(0.5, 1.5)
    return made.eval(), (3, side, side)


def drawn(recipe):
    """The network on which a recipe has its turn, by their names: a new recipe leaves the turns of the others."""
    return min(
        (m for m in MODELS if (m, recipe) not in NO_SITE),
        key=lambda m: zlib.crc32(f"{m} {recipe}".encode()),
        default=None,
    )


PAIRS = [(m, r) for m in MODELS for r in SURGERY if (m, r) not in NO_SITE and (WHOLE or m == drawn(r))]


@pytest.mark.parametrize(("model", "recipe"), PAIRS, ids=lambda name: name)
def test_a_recipe_keeps_every_promise(model, recipe):
    made, size = network(model)
    loaded = load_recipe(recipe, settings(model, recipe))
    assert check_operation(loaded, made, input_size=size).surgery.edits


@pytest.mark.parametrize("model", MODELS)
def test_what_is_refused_is_told_why(model):
    made, size = network(model)
    for recipe in SURGERY:
        if (model, recipe) in NO_SITE:
            with pytest.raises(SelectionError, match=NO_SITE[model, recipe]):
                surgeon.plan(made, recipe, input_size=size)


@pytest.mark.parametrize("model", WITHOUT_BATCH_NORM)
@pytest.mark.parametrize("recipe", NOISE)
def test_noise_of_networks_without_batch_norms_names_the_setting_that_works(model, recipe):
    made, size = network(model)
    with pytest.raises(SelectionError, match="set adversarial-noise.norms=any"):
        surgeon.plan(made, recipe, input_size=size)


def test_every_network_has_a_turn():
    assert {m for m, _ in PAIRS} == set(MODELS)
    assert {r for _, r in PAIRS} == {r for r in SURGERY if drawn(r)}
    assert {r for r in SURGERY if drawn(r) is None} == {
        "smooth-activation",
        "soft-pool",
    }  # in no network of the five
