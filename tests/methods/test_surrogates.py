"""What an attack differentiates in a layer's place: of every operation, and that it shows what the layer hides."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.edits import Edit, Traits
from surgeon.methods.base import Operation
from surgeon.methods.registry import parse
from tests.methods.test_conformance import TABLE, Stem

SIZE = (3, 8, 8)
IMAGES = torch.rand(32, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def stock():
    torch.manual_seed(0)
    model = Stem()
    with torch.no_grad():
        model(torch.randn(32, *SIZE))
    return model.eval()


def pairs(stock, settings):
    """Each edit's operation, edit, and layer or replacement."""
    if settings["op"] == "adversarial-noise":
        settings = {**settings, "num_classes": 4}
    cut = surgeon.apply(stock, settings, input_size=SIZE, calibration=IMAGES).eval()
    operations = {k: parse(o) for k, o in cut.surgery.operations.items()}
    return cut, [
        (operations[e.operation], e, cut.get_submodule(e.layer or e.site)) for e in cut.surgery.edits
    ]


@pytest.mark.filterwarnings("ignore::surgeon.errors.CalibrationWarning")
@pytest.mark.parametrize("settings", TABLE, ids=lambda o: "-".join(str(v) for v in o.values()))
def test_every_surrogate_takes_what_the_layer_takes(stock, settings):
    cut, found = pairs(stock, settings)
    seen = {}
    hooks = [
        layer.register_forward_hook(lambda m, args, output: seen.update({id(m): (args[0], output)}))
        for _, _, layer in found
    ]
    with torch.no_grad():
        cut(IMAGES[:4])
    for hook in hooks:
        hook.remove()
    assert found
    for operation, edit, layer in found:
        before = {k: v.clone() for k, v in layer.state_dict().items()}
        instead = operation.surrogate(edit, layer)
        given, output = seen[id(layer)]
        if instead is None:
            assert given.shape == output.shape, (
                f"{edit.site}: nothing can take the place of what changes the shape"
            )
            continue
        given = given.clone().requires_grad_()
        found_instead = instead.eval()(given)
        assert found_instead.shape == output.shape
        (gradient,) = torch.autograd.grad(found_instead.sum(), given)
        assert torch.isfinite(gradient).all()
        assert torch.equal(instead(given), found_instead), f"{edit.site}: it is random"
        assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())


class Attacked(torch.autograd.Function):
    """A layer forward, its surrogate backward."""

    @staticmethod
    def forward(ctx, x, layer, instead):
        ctx.save_for_backward(x)
        ctx.instead = instead
        return layer(x)

    @staticmethod
    def backward(ctx, grad):
        if ctx.instead is None:
            return grad, None, None
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(ctx.instead(x), x, grad)[0], None, None


@pytest.mark.parametrize("settings", [{"op": "meansparse", "alpha": 50.0}, {"op": "kwta", "share": 0.01}])
def test_it_shows_the_slope_that_a_layer_hides(stock, settings):
    _, found = pairs(stock, settings)
    operation, edit, layer = found[0]
    x = torch.randn(4, 16, 4, 4, generator=torch.Generator().manual_seed(2), requires_grad=True)
    slopes = []
    for given in (layer(x), Attacked.apply(x, layer, operation.surrogate(edit, layer))):
        (gradient,) = torch.autograd.grad(given.sum(), x)
        slopes.append(float((gradient != 0).double().mean()))
    assert slopes[0] < 0.05 and slopes[1] > 0.3, slopes


def test_the_answers(stock):
    answers = {}
    for settings in TABLE:
        for operation, edit, layer in pairs(stock, settings)[1] if settings["op"] in KNOWN else ():
            instead = operation.surrogate(edit, layer)
            kind = "itself" if instead is layer else type(instead).__name__
            answers.setdefault((operation.name, edit.settings.get("on", "")), set()).add(kind)
    assert answers == {
        ("meansparse", ""): {"NoneType"},
        ("kwta", ""): {"ReLU"},
        ("smooth-activation", ""): {"itself"},
        ("defective", ""): {"itself"},
        ("parametric-noise", "weights"): {"Conv2d", "Linear"},
        ("parametric-noise", "outputs"): {"NoneType"},
        ("noise", ""): {"NoneType"},
        ("blur-pool", ""): {"itself"},
        ("squeeze-excite", ""): {"itself"},
    }


KNOWN = (
    "meansparse",
    "kwta",
    "smooth-activation",
    "defective",
    "parametric-noise",
    "noise",
    "blur-pool",
    "squeeze-excite",
)


def test_the_expectation_is_the_mean_of_many_draws(stock):
    _, found = pairs(stock, {"op": "parametric-noise"})
    operation, edit, layer = found[0]
    instead = operation.surrogate(edit, layer)
    assert instead.weight is layer.weight and type(instead) is nn.Conv2d
    with torch.no_grad():
        draws = torch.stack([layer(IMAGES[:2]) for _ in range(2000)])
        apart = (draws.mean(0) - instead(IMAGES[:2])).abs() / (draws.std(0) / 2000**0.5)
    assert float(apart.max()) < 6 and float(apart.square().mean()) == pytest.approx(1, abs=0.7)


@pytest.mark.parametrize(
    ("traits", "left_out"),
    [
        (Traits(), False),
        (Traits(linear=False), True),
        (Traits(stochastic="train"), False),
        (Traits(stochastic="always"), True),
        (Traits(masked=True), True),
        (Traits(stochastic="train", train_only=True), True),
    ],
)
def test_without_a_word_of_the_operation_its_traits_decide(traits, left_out):
    layer = nn.Identity()
    edit = Edit(site="conv1", operation="own", layer="conv1.own", traits=traits)
    assert Operation().surrogate(edit, layer) is (None if left_out else layer)
    instead = edit.model_copy(update={"layer": None, "replaces": True})
    assert Operation().surrogate(instead, layer) is layer
