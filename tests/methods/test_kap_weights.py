"""Kernel Average Pooling on weights: folding and the warm starts."""

import pytest
import torch
import torch.nn.functional as F

from surgeon.errors import LayerError
from surgeon.methods.kap.module import KernelAveragePool
from surgeon.methods.kap.sheet import pooling_matrix, widened_sheet
from surgeon.methods.kap.weights import fold_weight, lstsq_weight, replicate_index, replicate_weight
from tests.reference import kap as reference


@pytest.mark.parametrize("alpha", [1.0, 0.4])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("channels", "kernel", "stride"), [(16, 3, 1), (16, 3, 2), (13, 5, 1), (36, 5, 3)])
def test_folding_equals_pooling_the_activations(channels, kernel, stride, bias, alpha):
    alpha = alpha if stride == 1 else 1.0
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64)
    weight = torch.randn(channels, 3, 3, 3, dtype=torch.float64)
    shift = torch.randn(channels, dtype=torch.float64) if bias else None
    layer = KernelAveragePool(channels, kernel, stride, alpha=alpha)
    z = F.conv2d(x, weight, shift)
    pooled = reference.pool(z, kernel, stride, reference.closest_factors(channels))
    expected = pooled if alpha == 1 else (1 - alpha) * z + layer.alpha.item() * pooled
    folded, folded_bias = fold_weight(weight, shift, layer.matrix())
    assert (folded_bias is None) == (not bias)
    torch.testing.assert_close(
        F.conv2d(x, folded, folded_bias), expected, rtol=0, atol=1e-6 if alpha < 1 else 1e-12
    )


def test_folding_gives_the_weight_gradient_of_pooled_activations():
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    weight = torch.randn(9, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(9, dtype=torch.float64, requires_grad=True)
    head = torch.randn(2, 9, 3, 3, dtype=torch.float64)
    on_weights = (F.conv2d(x, *fold_weight(weight, bias, pooling_matrix(9, 3))) * head).sum()
    on_activations = (reference.pool(F.conv2d(x, weight, bias), 3, 1, (3, 3)) * head).sum()
    ours = torch.autograd.grad(on_weights, (weight, bias))
    theirs = torch.autograd.grad(on_activations, (weight, bias))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    small = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: fold_weight(w, None, pooling_matrix(9, 3))[0], small)


def test_folding_rounds_once():
    weight, matrix = torch.randn(64, 3, 3, 3), pooling_matrix(64, 5)
    folded, _ = fold_weight(weight, None, matrix)
    assert folded.dtype == torch.float32
    assert torch.equal(folded, torch.einsum("oc,cijk->oijk", matrix, weight.double()).float())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fold_weight(weight, None, matrix)[0], folded)


@pytest.mark.parametrize("ridge", [0.0, 1e-4, 1e-2, 1.0])
@pytest.mark.parametrize(("channels", "stride"), [(64, 1), (16, 1), (13, 1), (36, 3)])
def test_lstsq_is_the_minimum(channels, stride, ridge):
    matrix = pooling_matrix(channels, 3, stride)
    weight = torch.randn(matrix.shape[0], 2, 3, dtype=torch.float64)
    found = lstsq_weight(weight, matrix, ridge)
    assert found.shape == (channels, 2, 3) and found.dtype == torch.float64

    def loss(w):
        residual = torch.einsum("oc,cij->oij", matrix, w) - weight
        return (residual**2).sum() + ridge * (w**2).sum()

    w = found.clone().requires_grad_()
    gradient = torch.autograd.grad(loss(w), w)[0]
    assert gradient.abs().max() < 1e-9
    for _ in range(3):
        assert loss(found + 0.01 * torch.randn_like(found)) > loss(found)


def test_lstsq_without_ridge_has_the_least_norm():
    matrix = pooling_matrix(64, 3)
    weight = torch.randn(64, 2, dtype=torch.float64)
    found = lstsq_weight(weight, matrix, 0)
    _, values, rows = torch.linalg.svd(matrix)
    null = rows[values < 1e-10]
    assert len(null) and (null @ found).abs().max() < 1e-9


def test_lstsq_takes_a_bias_and_returns_its_dtype():
    bias = torch.randn(16)
    found = lstsq_weight(bias, pooling_matrix(16, 3), 1e-4)
    assert found.dtype == torch.float32 and found.shape == (16,)
    torch.testing.assert_close(found, lstsq_weight(bias[:, None], pooling_matrix(16, 3), 1e-4)[:, 0])


WIDE = [(16, 3, 2), (8, 3, 2), (13, 3, 2), (1, 3, 2), (6, 5, 2), (4, 1, 2), (10, 3, 1), (7, 5, 1), (1, 3, 1)]


@pytest.mark.parametrize(("channels", "kernel", "dims"), WIDE)
def test_every_window_holds_copies_of_one_kernel(channels, kernel, dims):
    sheet = widened_sheet(channels, kernel, dims)
    index = replicate_index(channels, kernel, dims)
    assert index.shape == (channels * kernel**dims,)
    members = reference.windows(sheet, kernel, kernel)
    assert len(members) == channels
    for kernel_number, covered in enumerate(members):
        assert set(index[covered].tolist()) == {kernel_number}
    assert set(index.tolist()) == set(range(channels))


@pytest.mark.parametrize(("channels", "kernel", "dims"), WIDE)
def test_replicated_kernels_pool_back_exactly(channels, kernel, dims):
    weight = torch.randn(channels, 3, 3, 3, dtype=torch.float64)
    bias = torch.randn(channels, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    wide, wide_bias = replicate_weight(weight, bias, kernel, dims, noise=0.1, generator=generator)
    matrix = pooling_matrix(len(wide), kernel, kernel, dims, sheet=widened_sheet(channels, kernel, dims))
    back, back_bias = fold_weight(wide, wide_bias, matrix)
    torch.testing.assert_close(back, weight, rtol=0, atol=1e-12)
    torch.testing.assert_close(back_bias, bias, rtol=0, atol=1e-12)


def test_replicas_differ_by_the_stated_noise_and_repeat_with_the_seed():
    weight = torch.randn(16, 8, 3, 3) * 5
    made = [
        replicate_weight(weight, None, 3, noise=0.05, generator=torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    ]
    assert torch.equal(made[0][0], made[1][0]) and not torch.equal(made[0][0], made[2][0])
    assert made[0][1] is None
    difference = made[0][0] - weight[replicate_index(16, 3)]
    assert 0.7 < difference.std() / (0.05 * weight.std()) < 1.1
    exact, _ = replicate_weight(weight, None, 3, noise=0)
    assert torch.equal(exact, weight[replicate_index(16, 3)])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: fold_weight(torch.ones(8, 3), None, torch.ones(4, 9)),
            "a matrix of shape (4, 9) cannot pool a weight of shape (8, 3); its columns must equal",
        ),
        (
            lambda: fold_weight(torch.ones(9, 3), torch.ones(8), torch.ones(4, 9)),
            "bias of shape (8,) does not fit a weight of 9 channels",
        ),
        (
            lambda: lstsq_weight(torch.ones(8, 3), torch.ones(4, 8)),
            "a matrix of shape (4, 8) cannot give a weight of shape (8, 3); its rows must equal",
        ),
        (
            lambda: lstsq_weight(torch.ones(8), torch.ones(8, 8), -1),
            "ridge=-1 is negative; 0 (least norm) or more",
        ),
        (
            lambda: replicate_weight(torch.ones(4, 2), None, 3, noise=-0.1),
            "noise=-0.1 is negative; 0 makes exact",
        ),
        (lambda: replicate_weight(torch.ones(4, 2), None, 2), "kernel_size=2 must be odd and positive"),
        (lambda: replicate_index(0, 3), "channels=0 has no sheet"),
    ],
)
def test_errors_say_what_is_wrong(call, text):
    with pytest.raises(LayerError) as caught:
        call()
    assert text in str(caught.value)
