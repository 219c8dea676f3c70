"""The order of channels on the sheet, against all orders and against the pooling itself."""

import itertools

import pytest
import torch

from surgeon.errors import LayerError
from surgeon.methods.kap.module import KernelAveragePool
from surgeon.methods.kap.order import (
    _gains,
    channel_order,
    lstsq_ordered_weight,
    pooling_loss,
    weight_order,
)
from surgeon.methods.kap.sheet import pooling_matrix, side_matrices
from surgeon.methods.kap.weights import lstsq_weight


def positive(number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(number, number, generator=generator, dtype=torch.float64)
    return root @ root.mT


def value(loss, gram, order):
    return float((loss * gram[order][:, order]).sum())


@pytest.mark.parametrize("channels", [9, 16, 32])
def test_the_loss_is_what_the_ridge_regression_leaves(channels):
    matrix, ridge = pooling_matrix(channels, 3), 1e-3
    weight = torch.randn(channels, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    best = lstsq_weight(weight, matrix, ridge)
    left = (matrix @ best - weight).square().sum() + ridge * best.square().sum()
    loss = pooling_loss(side_matrices(channels, 3), ridge)
    assert float((weight * (loss @ weight)).sum()) == pytest.approx(float(left), rel=1e-9)


def test_gains_are_what_each_exchange_changes():
    loss, gram = positive(7), positive(7, seed=1)
    order = torch.tensor([3, 1, 0, 2, 6, 5, 4])
    found = _gains(loss, gram[order][:, order])
    for i, j in itertools.combinations(range(7), 2):
        other = order.clone()
        other[[i, j]] = order[[j, i]]
        assert float(found[i, j]) == pytest.approx(
            value(loss, gram, other) - value(loss, gram, order), abs=1e-8
        )


def test_no_exchange_of_two_betters_the_result_and_all_orders_hardly_do():
    loss = pooling_loss(side_matrices(6, 3, dims=1), 1e-4)
    gram = positive(6, seed=2)
    order = channel_order(loss, gram)
    reached = value(loss, gram, order)
    every = [value(loss, gram, torch.tensor(p)) for p in itertools.permutations(range(6))]
    assert sorted(order.tolist()) == list(range(6))
    assert reached <= value(loss, gram, torch.arange(6))
    assert sorted(every).index(min(every, key=lambda v: abs(v - reached))) < 0.05 * len(every)
    swapped = list(itertools.combinations(range(6), 2))
    for i, j in swapped:
        other = order.clone()
        other[[i, j]] = order[[j, i]]
        assert value(loss, gram, other) >= reached - 1e-9


def test_kernels_that_the_order_suits_are_kept_better():
    weight = torch.randn(64, 27, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    factors, matrix = side_matrices(64, 3), pooling_matrix(64, 3)
    order = weight_order(weight, factors, 1e-4)
    fitted = lstsq_ordered_weight(weight, factors, 1e-4, order)
    layer = KernelAveragePool(64, order=order)
    plain = matrix @ lstsq_weight(weight, matrix, 1e-4)
    assert float((layer.fold(fitted) - weight).norm()) < 0.85 * float((plain - weight).norm())


def test_a_layer_with_an_order_is_its_matrix_folds_and_is_saved():
    torch.manual_seed(0)
    layer = KernelAveragePool(12, order=torch.randperm(12)).double()
    x = torch.randn(2, 12, 3, 4, dtype=torch.float64)
    a = pooling_matrix(12, 3)
    slow = torch.zeros_like(x)
    for place in range(12):
        for other in range(12):
            slow[:, layer.order[place]] += a[place, other] * x[:, layer.order[other]]
    assert torch.allclose(layer(x), slow)
    assert torch.allclose(torch.einsum("oc,nchw->nohw", layer.matrix(), x), slow)
    w = torch.randn(12, 5, dtype=torch.float64)
    assert torch.allclose(layer.fold(w), layer.matrix() @ w)
    other = KernelAveragePool(12, order=torch.arange(12)).double()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))


def test_orders_that_are_none_are_refused():
    with pytest.raises(LayerError, match="not a permutation"):
        KernelAveragePool(12, order=torch.zeros(12, dtype=torch.int64))
    with pytest.raises(LayerError, match="stride 1"):
        KernelAveragePool(16, stride=2, order=torch.arange(16))
    layer = KernelAveragePool(12, order=torch.arange(12))
    with pytest.raises(RuntimeError, match="not a permutation"):
        layer.load_state_dict({"alpha": torch.ones(()), "order": torch.full((12,), 3)})
