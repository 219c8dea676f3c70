"""Windows as the equations are written (1/K²), windows without a centre, and sheets narrower than a window."""

import pytest
import torch

import surgeon
from surgeon.errors import LayerError, RecipeError
from surgeon.methods.kap.maths import kernel_average_pool
from surgeon.methods.kap.module import KernelAveragePool
from tests.reference import kap as reference

SETTINGS = [
    (16, 2, 1, 2, None),
    (16, 2, 2, 2, None),
    (64, 4, 1, 2, None),
    (64, 4, 4, 2, None),
    (36, 6, 1, 2, None),
    (12, 3, 1, 2, (4, 3)),
    (25, 5, 2, 2, None),
    (13, 4, 1, 2, None),
    (13, 3, 1, 2, None),
    (10, 10, 3, 1, None),
    (1, 2, 1, 2, None),
]


@pytest.mark.parametrize("pool, divisor", [("mean", "channels"), ("mean", "window"), ("max", "channels")])
@pytest.mark.parametrize(("channels", "kernel", "stride", "dims", "sheet"), SETTINGS)
@pytest.mark.parametrize("spatial", [(), (3, 4), (2, 1)])
def test_equals_the_loops(pool, divisor, channels, kernel, stride, dims, sheet, spatial):
    x = torch.randn(3, channels, *spatial, dtype=torch.float64)
    places = sheet or (reference.closest_factors(channels) if dims == 2 else (1, channels))
    expected = reference.pool(x, kernel, stride, places, pool, divisor)
    how = dict(pool=pool, sheet=sheet, even=True, divisor=divisor)
    out = kernel_average_pool(x, kernel, stride, dims, **how)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    layer = KernelAveragePool(channels, kernel, stride, dims, **how)
    assert layer.out_channels == expected.shape[1] and torch.equal(layer(x), out)
    if pool == "mean":
        by_matrix = torch.einsum("oc,nc...->no...", layer.matrix(), x)
        torch.testing.assert_close(by_matrix, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(layer.fold(x[0]), expected[0], rtol=0, atol=1e-12)


def test_rows_at_the_border_sum_to_less_than_one_by_the_windows_size():
    sums = KernelAveragePool(16, 3, divisor="window").matrix().sum(1).view(4, 4)
    assert sums[0, 0] == pytest.approx(4 / 9) and sums[0, 1] == pytest.approx(6 / 9)
    assert sums[1, 1] == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_and_other_numbers(dtype):
    x = torch.randn(2, 12, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: kernel_average_pool(x, 2, even=True), x)
    low = kernel_average_pool(x.detach().to(dtype), 2, even=True)
    assert low.dtype == dtype
    wanted = reference.pool(x.detach().to(dtype), 2, 1, (3, 4))
    torch.testing.assert_close(low.double(), wanted, rtol=0, atol=3e-2 if dtype == torch.bfloat16 else 1e-6)


@pytest.mark.parametrize("kernel, even, said", [(2, False, "'even' allows"), (5, True, "largest size is 4")])
def test_windows_that_do_not_fit_are_refused(kernel, even, said):
    with pytest.raises(LayerError, match=said):
        KernelAveragePool(16, kernel, even=even)


class Net(torch.nn.Module):
    """Convolutions of 22 = 2×11, 16 and 13 channels."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Conv2d(3, 22, 3)
        self.b = torch.nn.Conv2d(22, 16, 3)
        self.c = torch.nn.Conv2d(16, 13, 1)
        self.fc = torch.nn.Linear(13, 4)

    def forward(self, x):
        return self.fc(self.c(self.b(self.a(x).relu()).relu()).mean((2, 3)))


RECIPES = [
    {"op": "kap", "divisor": "window"},
    {"op": "kap", "kernel_size": 2, "even": True},
    {"op": "kap", "kernel_size": 2, "even": True, "divisor": "window", "order": "given"},
    {"op": "kap", "kernel_size": 2, "stride": 2, "even": True},
    {"op": "kap", "narrow": "line"},
]


@pytest.mark.parametrize("start", ["naive", "lstsq"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_network_is_cut_folded_and_verified(recipe, start):
    if start == "naive":
        recipe = {k: v for k, v in recipe.items() if k != "order"}
    net = Net().double().eval()
    cut = surgeon.apply(net, {**recipe, "start": start}, input_size=(3, 8, 8)).eval()
    assert "b.kap" in dict(cut.named_modules())
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(surgeon.fold(cut)(images), cut(images), rtol=0, atol=1e-10)


def test_a_narrow_sheet_is_passed_over_with_the_setting_that_takes_it_in():
    net = Net()
    plan = surgeon.plan(net, {"op": "kap"}, input_size=(3, 8, 8))
    assert [p.site for p in plan.passed_over] == ["a"]
    (note,) = [n for n in plan.notes if n.code == "small-sheet"]
    assert note.severity == "warning" and "narrow=line" in note.text and "2x11" in note.text
    cut = surgeon.apply(net, {"op": "kap", "narrow": "line"}, input_size=(3, 8, 8))
    assert cut.get_submodule("a.kap").sheet == (1, 22) and cut.get_submodule("b.kap").sheet == (4, 4)
    x = torch.randn(2, 22, 3, 3)
    wanted = reference.pool(x, 3, 1, (1, 22))
    torch.testing.assert_close(cut.get_submodule("a.kap").eval()(x).double(), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"kernel_size": 4, "stride": 4, "even": True, "start": "replicate"}, "replicate"),
        ({"kernel_size": 4, "even": True, "kernel": "gaussian"}, "average"),
        ({"divisor": "window", "pool": "max"}, "divisor 'window'"),
        ({"stride": 3, "divisor": "window", "start": "replicate"}, "needs 'channels'"),
        ({"narrow": "line", "stride": 3}, "keep their channels"),
        ({"kernel_size": 4}, "3 or 5; even=true"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(settings, said):
    with pytest.raises(RecipeError, match=said):
        surgeon.plan(Net(), {"op": "kap", **settings}, input_size=(3, 8, 8))
