"""A mixing of channels, folded into the layer beside it, against the two run one after the other in float64."""

import pytest
import timm
import torch
from torch import nn

from surgeon.errors import FoldError
from surgeon.methods import Site, cannot_mix, cannot_shift, take_up, with_mixing

C = 4
LAYERS = {
    "conv": lambda: nn.Conv2d(C, C, 3, stride=2, dilation=2, bias=True),
    "padded": lambda: nn.Conv2d(C, C, 3, padding=1, bias=False),
    "reflected": lambda: nn.Conv2d(C, C, 3, padding=1, padding_mode="reflect"),
    "conv1d": lambda: nn.Conv1d(C, C, 5),
    "grouped": lambda: nn.Conv2d(C, C, 3, groups=2),
    "depthwise": lambda: nn.Conv2d(C, C, 3, groups=C),
    "transposed": lambda: nn.ConvTranspose2d(C, C, 3, stride=2),
    "scaled": lambda: timm.layers.ScaledStdConv2d(C, C, 3, padding=1),
    "linear": lambda: nn.Linear(C, C),
    "unbiased": lambda: nn.Linear(C, C, bias=False),
}
NO_BIAS, NO_CONSTANT_BEFORE, NOTHING_BEFORE = ("padded", "unbiased"), ("transposed",), ("scaled",)


def case(name):
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    shape = {"conv1d": (2, C, 9), "linear": (2, 5, C), "unbiased": (2, 5, C)}.get(name, (2, C, 9, 9))
    matrix = torch.randn(C, C, dtype=torch.float64)
    groups = getattr(layer, "groups", 1)
    if groups > 1:
        size = C // groups
        own = torch.arange(C) // size
        matrix = matrix * (own[:, None] == own[None, :])
    return layer, torch.randn(shape, dtype=torch.float64), matrix, torch.randn(C, dtype=torch.float64)


def mixed(x, matrix, constant, axis):
    return (x.movedim(axis, -1) @ matrix.T + constant).movedim(-1, axis)


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("shifts", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_the_folded_layer_equals_the_two(name, shifts, before):
    layer, x, matrix, constant = case(name)
    state = {k: v.clone() for k, v in layer.state_dict().items()}
    constant = constant if shifts else None
    impossible = (
        (name in NO_BIAS and shifts)
        or (before and name in NOTHING_BEFORE)
        or (before and shifts and name in NO_CONSTANT_BEFORE)
    )
    if impossible:
        with pytest.raises(FoldError):
            with_mixing(layer, matrix, constant, before=before)
        return
    folded = with_mixing(layer, matrix, constant, before=before)
    axis = -1 if isinstance(layer, nn.Linear) else 1
    c = 0 if constant is None else constant
    wanted = layer(mixed(x, matrix, c, axis)) if before else mixed(layer(x), matrix, c, axis)
    torch.testing.assert_close(folded(x), wanted, rtol=1e-6 if name == "scaled" else 1e-10, atol=1e-9)
    assert type(folded) is type(layer)
    assert {k: v.shape for k, v in folded.state_dict().items()} == {k: v.shape for k, v in state.items()}
    assert all(torch.equal(v, state[k]) for k, v in layer.state_dict().items())


def test_a_norm_takes_up_the_constant_of_a_layer_without_bias():
    layer, x, matrix, constant = case("padded")
    norm = nn.BatchNorm2d(C).double().eval()
    wanted = norm(mixed(layer(x), matrix, constant, 1))
    folded = with_mixing(layer, matrix, constant, next_norm=norm)
    torch.testing.assert_close(norm(folded(x)), wanted)
    with pytest.raises(FoldError, match="neither a bias nor a running mean"):
        take_up(nn.LayerNorm(C), constant)


@pytest.mark.parametrize(
    ("layer", "matrix", "constant", "before", "message"),
    [
        (nn.ReLU(), torch.eye(C), None, False, "ReLU is neither"),
        (nn.Conv2d(C, C, 1), torch.eye(3), None, False, r"\(3, 3\) does not fit; expected \(4, 4\)"),
        (nn.Conv2d(C, C, 1), torch.eye(C), torch.ones(1), False, r"\(1,\) does not fit"),
        (nn.Conv2d(C, C, 1, groups=2), torch.ones(C, C), None, False, "crosses its 2 groups"),
        (nn.Conv2d(C, C, 1, groups=2), torch.ones(C, C), None, True, "crosses its 2 groups"),
        (nn.ConvTranspose2d(C, C, 1, groups=2), torch.eye(C), None, False, "only groups=1"),
        (nn.Conv2d(C, C, 3, padding=1), torch.eye(C), torch.ones(C), True, "zeros at its border"),
        (nn.Conv2d(C, C, 3, padding="same"), torch.eye(C), torch.ones(C), True, "zeros at its border"),
    ],
)
def test_what_no_layer_equals_is_an_error(layer, matrix, constant, before, message):
    with pytest.raises(FoldError, match=message):
        with_mixing(layer, matrix, constant, before=before)


def site(**changes):
    given = dict(
        name="a", kind="conv", cls="Conv2d", index=0, channels=C, in_channels=C, bias=True, kernel=(3, 3)
    )
    return Site(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "before", "reason"),
    [
        ({}, False, ""),
        ({}, True, ""),
        ({"kind": "pool", "cls": "MaxPool2d"}, False, "MaxPool2d is neither"),
        ({"altered": "hooks"}, False, "hooks"),
        ({"channels": None}, False, "size is not known"),
        ({"in_channels": None}, True, "size is not known"),
        ({"groups": 2}, False, "2 groups"),
        ({"standardized": "weights"}, False, "unit variance"),
        ({"standardized": "scaled"}, False, ""),
        ({"standardized": "scaled"}, True, "mean 0"),
    ],
)
def test_a_site_tells_whether_a_mixing_folds(changes, before, reason):
    found = cannot_mix(site(**changes), before=before)
    assert found == "" if reason == "" else reason in found


@pytest.mark.parametrize(
    ("changes", "before", "reason"),
    [
        ({}, False, ""),
        ({}, True, "zeros"),
        ({"padding_mode": "reflect"}, True, ""),
        ({"kernel": (1, 1)}, True, ""),
        ({"kind": "linear", "kernel": None}, True, ""),
        ({"bias": False}, False, "neither a bias nor a batch norm"),
        ({"bias": False, "next_norm": "n"}, False, ""),
        ({"bias": False, "next_norm": "g"}, False, "neither a bias nor a batch norm"),
        ({"transposed": True}, True, "transposed"),
        ({"altered": "hooks"}, False, "hooks"),
    ],
)
def test_a_site_tells_whether_a_constant_folds(changes, before, reason):
    norms = [
        Site(name=n, kind="norm", cls="N", index=1, family=f) for n, f in (("n", "batch"), ("g", "group"))
    ]
    found = cannot_shift(site(**changes), norms, before=before)
    assert found == "" if reason == "" else reason in found
