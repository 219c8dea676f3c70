"""Every shipped recipe on sixteen architectures of timm and torchvision: one model for each recipe and one recipe for
each model, drawn by their names, so that a new recipe leaves the turns of the others; all of them by `make matrix`.
`tests/test_sweep.py` draws pairs over all other architectures."""

import copy
import os
import shutil
import warnings
import zlib

import pytest
import torch

import surgeon
from surgeon.errors import CalibrationWarning, FoldError, RecipeError, SelectionError
from surgeon.kept_modes import mode
from surgeon.methods.needs import needs_data
from surgeon.models.logits import first_tensor
from surgeon.recipe import load_recipe, shipped
from surgeon.training import adversarial_noise
from surgeon.verification import demand, relative, verify

SIZES = {"torchvision/r3d_18": (3, 4, 32, 32), "inception_v3": (3, 75, 75)}
MODELS = (
    "resnet18",
    "resnet50",
    "densenet121",
    "vgg16_bn",
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "efficientnet_b0",
    "regnety_002",
    "convnext_atto",
    "inception_v3",
    "nf_resnet50",
    "torchvision/resnet18",
    "torchvision/googlenet",
    "torchvision/squeezenet1_1",
    "torchvision/deeplabv3_resnet50",
    "torchvision/r3d_18",
)
NO_NORM = dict.fromkeys(("convnext_atto", "nf_resnet50", "torchvision/squeezenet1_1"), "the model has none")
NOISE = ("anl", "canl", "lat", "gaussian")
NO_SITE = {
    **{(m, r): why for m, why in NO_NORM.items() for r in NOISE},
    **dict.fromkeys(
        (
            (m, "smooth-activation")
            for m in ("densenet121", "mobilenetv2_100", "efficientnet_b0", "inception_v3")
        ),
        "smooth-activation has no site left",
    ),
    ("convnext_atto", "smooth-activation"): "GELU is no ReLU",
    **{(m, "advprop"): "is no batch norm|has no norm site" for m in NO_NORM},
    **dict.fromkeys(
        (
            (m, "soft-pool")
            for m in (
                "mobilenetv2_100",
                "mobilenetv3_small_100",
                "efficientnet_b0",
                "regnety_002",
                "convnext_atto",
                "torchvision/r3d_18",
            )
        ),
        "is no max pooling",
    ),
    **dict.fromkeys(
        ((m, "soft-pool") for m in ("torchvision/googlenet", "torchvision/squeezenet1_1")),
        "rounds its size up",
    ),
    ("vgg16_bn", "small-image"): "the stem is one for small images already",
    **{
        ("torchvision/r3d_18", r): "3-D|2-D|input size"
        for r in shipped()
        if r.startswith(("wm-", "defective", "small-image"))
    },
}
SETTINGS = {
    r: ["weight-map.max_parameters=2000000000"]
    for r in shipped()
    if r.startswith("wm-") and r != "wm-input-scale"
}
VARIANTS = ("lat", "gaussian", "input-noise", "defective-same")
"""Recipes that differ from another of the list in one setting: cut and verified in their turns, trained and
saved in the first network."""
SURGERY = tuple(r for r in shipped() if load_recipe(r).surgery)
WHOLE, TURNS, IDENTITY_TURNS = bool(os.environ.get("SURGEON_MATRIX")), 4, 6
WIDE = (
    "resnet50",
    "mobilenetv2_100",
    "nf_resnet50",
    "torchvision/deeplabv3_resnet50",
    "torchvision/r3d_18",
    "inception_v3",
)
"""Networks whose convolutions, with nine kernels for each old one, take seconds to draw: widened in the
bottom alone."""


@pytest.fixture(scope="module")
def model(request):
    torch.manual_seed(0)
    size = SIZES.get(request.param, (3, 32, 32))
    args = {} if "/" in request.param or request.param == "inception_v3" else {"drop_rate": 0.2}
    if request.param == "vgg16_bn":
        args["mlp_ratio"] = 1 / 64  # its head is a 7×7 convolution with a hundred million weights else
    network = surgeon.create_model(request.param, num_classes=6, input_size=size, model_args=args)
    with torch.no_grad():  # so that batch norms in evaluation mode are not the identity
        for m in network.modules():
            if isinstance(m, torch.nn.modules.batchnorm._BatchNorm):
                m.running_mean.normal_(0, 0.1), m.running_var.uniform_(0.5, 1.5)
    return network.eval(), size


@pytest.mark.parametrize("model", MODELS, indirect=True)
def test_recipes(model, request, subtests_of, tmp_path):
    network, size = model
    name = request.node.callspec.params["model"]
    x = torch.randn(2, *size, generator=torch.Generator().manual_seed(1))
    y = torch.randint(0, 6, (2,), generator=torch.Generator().manual_seed(2))
    for recipe in SURGERY:
        if not _has_its_turn(name, recipe):
            continue
        with subtests_of(f"{recipe} on {name}"):
            loaded = load_recipe(recipe, SETTINGS.get(recipe, []))
            if name in WIDE and recipe == "kap-ensemble":
                loaded = load_recipe(loaded, ["kap.select.stages=[0, 1]"])
            if (name, recipe) in NO_SITE:
                with pytest.raises(SelectionError, match=NO_SITE[name, recipe]):
                    surgeon.plan(network, loaded, input_size=size)
                continue
            if recipe in VARIANTS and name != MODELS[0]:
                demand(verify(network, _cut(network, loaded, size), images=x))
                continue
            _check(network, loaded, size, x, y, tmp_path / recipe)


def _has_its_turn(name, recipe):
    if WHOLE or (name == MODELS[0] and recipe in VARIANTS):
        return True
    if (name, recipe) in NO_SITE:
        return _drawn(name, recipe) % TURNS == 0
    models = [m for m in MODELS if (m, recipe) not in NO_SITE]
    recipes = [r for r in SURGERY if (name, r) not in NO_SITE]
    return name == min(models, key=lambda m: _drawn(m, recipe)) or recipe == min(
        recipes, key=lambda r: _drawn(name, r)
    )


def _drawn(name, recipe):
    return zlib.crc32(f"{name} {recipe}".encode())


def test_each_model_and_each_recipe_has_a_turn():
    cut = {(m, r) for m in MODELS for r in SURGERY if _has_its_turn(m, r) and (m, r) not in NO_SITE}
    assert {m for m, _ in cut} == set(MODELS)
    assert {r for _, r in cut} == set(SURGERY)


@pytest.mark.parametrize("recipe", sorted(set(shipped()) - set(SURGERY)))
def test_a_recipe_without_surgery_has_no_plan(tiny, recipe):
    with pytest.raises(RecipeError, match="no operation in its surgery part; `surgeon train`"):
        surgeon.plan(tiny, recipe, input_size=(3, 8, 8))


def _cut(network, recipe, size):
    made = surgeon.plan(network, recipe, input_size=size, trained=False)
    images = torch.randn(4, *size, generator=torch.Generator().manual_seed(3)) if needs_data(made) else None
    with warnings.catch_warnings():  # of so few images
        warnings.simplefilter("ignore", CalibrationWarning)
        return surgeon.apply(network, made, calibration=images)


def _check(network, recipe, size, x, y, folder):
    cut = _cut(network, recipe, size)
    demand(
        verify(network, cut, images=x)
    )  # names, layers called, finite, effect, and folding where the plan says so
    if not cut.surgery.folds:
        _does_not_fold(cut.eval(), x)
    _finite(cut, x, y)
    cut.eval()
    if sum(p.numel() for p in cut.parameters()) < 60e6:
        surgeon.save(cut, folder)
        loaded = surgeon.load(folder)
        found = []
        with torch.no_grad():
            for network in (loaded, cut):
                torch.manual_seed(3)  # for layers that are always random
                found.append(first_tensor(network(x)))
        assert torch.equal(*found)
        shutil.rmtree(folder)


def _finite(cut, x, y):
    for training in (True, False):
        cut.train(training)
        cut.zero_grad()
        loss_fn = lambda output, labels: first_tensor(output).float().abs().mean()  # noqa: E731
        with adversarial_noise(cut, x, y, loss_fn):
            loss = loss_fn(cut(x), y)
            loss.backward()
        assert torch.isfinite(loss)
        grads = [p.grad for p in cut.parameters() if p.grad is not None]
        assert grads
        assert all(bool(torch.isfinite(g).all()) for g in grads)


def _does_not_fold(cut, x):
    with pytest.raises(FoldError, match="do not fold"):
        surgeon.fold(cut)
    if any(e.folds for e in cut.surgery.edits):
        with torch.no_grad():
            cut, x = copy.deepcopy(cut).double(), x.double()
            folded = surgeon.fold(cut, partial=True)
            assert relative(first_tensor(folded(x)), first_tensor(cut(x))) < 1e-9


IDENTITY = [
    {"op": "kap", "kernel_size": 1, "start": "naive"},
    {"op": "noise", "sigma": 1e-30},
    {"op": "adversarial-noise", "source": "gaussian", "epsilon": 0.0, "after": "conv"},
    {"op": "adversarial-noise", "source": "anl", "after": "norm"},
    {"op": "defective", "keep": 1.0},
    {"op": "input-scale"},
]


@pytest.mark.parametrize("model", MODELS, indirect=True)
def test_layers_at_identity_settings_leave_both_modes_as_they_were(model, request):
    network, size = model
    name = request.node.callspec.params["model"]
    x = torch.randn(2, *size, generator=torch.Generator().manual_seed(1))
    tried = 0
    for number, operation in enumerate(IDENTITY, MODELS.index(name)):
        if number % IDENTITY_TURNS and not WHOLE:
            continue
        try:
            cut = surgeon.apply(network, operation, input_size=size)
        except SelectionError:
            assert name == "torchvision/r3d_18" or operation.get("after") == "norm"
            continue
        tried += 1
        old = {k: v.clone() for k, v in network.state_dict().items()}
        new = {k: v.clone() for k, v in cut.state_dict().items()}
        for training in (True, False):
            with mode(network, training), mode(cut, training), torch.no_grad():
                torch.manual_seed(4)
                wanted = first_tensor(network(x))
                torch.manual_seed(4)
                found = first_tensor(cut(x))
                network.load_state_dict(old)
                cut.load_state_dict(new)
            if operation["op"] == "noise" and training:
                assert torch.isfinite(found).all()  # it draws, so that dropout draws something else
            elif operation.get("source") == "gaussian" and training:
                assert torch.isfinite(found).all()
            else:
                assert relative(found, wanted) < 1e-5, (operation, training)
    assert tried >= (3 if WHOLE else 1)


@pytest.fixture
def subtests_of():
    """A context that names what was tried when it fails."""
    import contextlib

    @contextlib.contextmanager
    def named(what):
        try:
            yield
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error

    return named
