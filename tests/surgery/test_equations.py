"""Normal equations, and what a layer should give, against slow references."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.graph.rewritten.pairs import run_side_by_side
from surgeon.graph.rewritten.targets import target
from surgeon.tensors.equations import equations
from surgeon.tensors.least_squares import ridge_solve


def rows(layer, x):
    """Every patch a convolution sees, (N, places, d), by unit weights."""
    units = nn.Conv2d(
        layer.in_channels // layer.groups,
        layer.weight[0].numel(),
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        bias=False,
    ).double()
    with torch.no_grad():
        units.weight.copy_(torch.eye(units.weight.shape[0]).view_as(units.weight))
        return units(x).flatten(2).mT


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("centred, ones", [(False, False), (True, False), (False, True)])
def test_the_solution_is_the_least_squares_one(stride, groups, centred, ones):
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3, stride=stride, padding=1, groups=groups).double()
    x = torch.randn(90, 4, 5, 5).double()
    y = torch.randn_like(layer(x)) + 2
    found = equations(layer, x, y, centred=centred, fit_bias=ones)
    solved = found.solve(1e-14)
    for g in range(groups):
        u = rows(layer, x.chunk(groups, 1)[g]).flatten(0, 1)
        aim = y.chunk(groups, 1)[g].flatten(2).mT.flatten(0, 1)
        if ones:
            u = torch.cat([u, u.new_ones(len(u), 1)], 1)
        if centred:
            u, aim = u - u.mean(0), aim - aim.mean(0)
        assert torch.allclose(solved[g].mT, torch.linalg.lstsq(u, aim).solution, atol=1e-4)
        if groups == 1:
            rest = (u @ solved[0].mT - aim).norm() / aim.norm()
            assert found.error(solved) == pytest.approx(float(rest), rel=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_each_patch_counts_once_for_any_window(masked):
    """Windows that are not square, with strides, gaps and edges that differ; more weights than a block of rows."""
    torch.manual_seed(0)
    layer = nn.Conv2d(11, 2, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 3)).double()
    x = torch.randn(5, 11, 7, 6).double().contiguous(memory_format=torch.channels_last)
    y = layer(x).detach()
    mask = torch.ones(y.shape[1:], dtype=torch.bool) if masked else None
    found, u = equations(layer, x, y, mask=mask), rows(layer, x).flatten(0, 1)
    gram, cross = u.mT @ u / len(u), y.transpose(0, 1).flatten(1) @ u / len(u)
    for c in range(2):
        torch.testing.assert_close(found.gram[c if masked else 0], gram)
        torch.testing.assert_close(found.cross[c, 0] if masked else found.cross[0, c], cross[c])


@pytest.mark.parametrize("centred", [False, True])
def test_masked_places_do_not_count(centred):
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, padding=1).double()
    x, y = torch.randn(100, 2, 9, 9).double(), torch.randn(100, 3, 9, 9).double()
    mask = torch.rand(3, 9, 9) < 0.4
    found = equations(layer, x, y, mask=mask, centred=centred)
    solved = found.solve(1e-14)
    u = rows(layer, x)
    for c in range(3):
        kept = mask[c].flatten()
        a, b = u[:, kept].flatten(0, 1), y[:, c].flatten(1)[:, kept].flatten()
        if centred:
            a, b = a - a.mean(0), b - b.mean()
        best = torch.linalg.lstsq(a, b.unsqueeze(1)).solution[:, 0]
        assert torch.allclose(solved[c, 0], best, atol=1e-4)


def test_a_ridge_holds_to_the_present_weights():
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 1).double()
    found = equations(layer, torch.randn(40, 2, 3, 3).double(), torch.randn(40, 3, 3, 3).double())
    start = torch.randn(1, 3, 2).double()
    assert torch.allclose(found.solve(1e9, start), start, atol=1e-5)
    assert torch.allclose(found.solve(1e-14, start), found.solve(1e-14), atol=1e-6)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm0 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.norm0(self.stem(x)).relu()
        x = x + self.drop(self.norm(self.conv(x)))
        return self.head(x.relu().mean((2, 3)))


def test_a_branch_aims_at_the_old_sum():
    torch.manual_seed(0)
    model = Residual().eval()
    for norm in (model.norm0, model.norm):
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 2)
    model.norm.weight.data[0] = 1e-9
    x = torch.randn(6, 3, 8, 8)
    cut = surgeon.apply(model, {"op": "defective", "select": {"include": ["norm0"]}}, input_size=(3, 8, 8))
    found = {}

    def visit(call):
        if call.name in ("conv", "stem"):
            found[call.name] = target(call, cut, model, {"norm0.mask": lambda: cut.norm0.mask.mask})

    run_side_by_side(cut, model, x, visit)
    with torch.no_grad():
        old = model.norm0(model.stem(x)).relu()
        drift = old - cut.norm0.mask(model.norm0(model.stem(x))).relu()
        scale = model.norm.weight / (model.norm.running_var + model.norm.eps).sqrt()
        aim = found["conv"]
        reached = (aim.wanted - model.conv(old)) * scale.view(1, -1, 1, 1)
        assert torch.allclose(reached[:, 1:], drift[:, 1:], atol=1e-4)
        assert torch.isfinite(aim.wanted).all()
    assert aim.centred and aim.mask is None and torch.allclose(aim.scale, scale)
    assert torch.equal(found["stem"].mask, cut.norm0.mask.mask)


def test_re_fitted_layers_come_back_bit_for_bit_also_from_a_folder(tmp_path):
    torch.manual_seed(0)
    model = Residual().eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.randn(64, 3, 8, 8)
    recipe = {"op": "defective", "start": "sequential", "select": {"include": ["norm0"]}}
    cut = surgeon.apply(model, recipe, input_size=(3, 8, 8), calibration=x, copy=False)
    assert set(cut.surgery.execution.residuals) == {"conv"}
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not torch.equal(cut.conv.weight, model.conv.weight)
    surgeon.save(cut, tmp_path / "cut")
    for again in (cut, surgeon.load(tmp_path / "cut", model=model)):
        back = surgeon.revert(again).state_dict()
        assert all(torch.equal(v, before[k]) for k, v in back.items())


def test_equations_with_rounding_errors_are_solved_all_the_same():
    torch.manual_seed(0)
    u = torch.randn(20, 60)  # fewer rows than unknowns, in single precision
    gram, cross = u.mT @ u / 20 - 1e-5 * torch.eye(60), torch.randn(3, 20) @ u / 20
    solved = ridge_solve(gram, cross, 1e-9)
    assert torch.isfinite(solved).all()
    assert float((solved @ gram.double() - cross.double()).norm() / cross.norm()) < 0.05
