"""A weight map's fit against a dense least-squares solution."""

import pytest
import torch

from surgeon.methods.weight_map.fit import fit_weight_map
from surgeon.methods.weight_map.module import WeightMap2d


def dense(layer, x):
    """The layer as a matrix from weights to outputs, (N C_out H W, weights), by its own columns."""
    columns = []
    for k in range(layer.by_channels().numel()):
        with torch.no_grad():
            layer.by_channels().zero_()[
                tuple(int(i) for i in torch.unravel_index(torch.tensor(k), layer.by_channels().shape))
            ] = 1
            columns.append(layer(x).flatten())
    return torch.stack(columns, 1)


@pytest.mark.parametrize("mode", ["smoothing", "unsharp"])
@pytest.mark.parametrize("centred", [False, True])
def test_enough_iterations_give_the_least_squares_solution(mode, centred):
    torch.manual_seed(0)
    layer = WeightMap2d(2, 2, (4, 4), 3, padding=1, mode=mode, bias=False).double()
    x = torch.randn(60, 2, 4, 4, dtype=torch.float64)
    y = torch.randn(60, 2, 4, 4, dtype=torch.float64) + 3
    error = fit_weight_map(layer, x, y, centred=centred, iterations=300)
    reached = layer(x).detach()
    aim = y - y.mean((0, 2, 3), keepdim=True) if centred else y
    matrix = dense(layer, x)
    best = (matrix @ torch.linalg.lstsq(matrix, aim.flatten().unsqueeze(1)).solution).view_as(aim)
    assert float((reached - best).norm() / best.norm()) < 1e-6
    assert error == pytest.approx(float((best - aim).norm() / aim.norm()), rel=1e-6)


def test_a_bias_is_fitted_and_few_iterations_already_help():
    torch.manual_seed(0)
    layer = WeightMap2d(3, 2, (5, 5), 3, stride=2, padding=1, bias=True)
    x = torch.randn(80, 3, 5, 5)
    with torch.no_grad():
        layer.bias.normal_()
        y = layer(x)
    assert fit_weight_map(layer, x, y, iterations=60) < 1e-3
    assert fit_weight_map(layer, x, y, iterations=3) < 0.7


def test_inputs_of_nothing_leave_zero_weights():
    layer = WeightMap2d(1, 1, (3, 3), 3, padding=1, bias=False)
    assert fit_weight_map(layer, torch.zeros(4, 1, 3, 3), torch.ones(4, 1, 3, 3)) == pytest.approx(1.0)
    assert not layer.by_channels().any()
