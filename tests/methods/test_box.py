"""The filter of ones against a convolution with ones in float64, and its gradients of both orders."""

import pytest
import torch
import torch.nn.functional as F

from surgeon.methods.weight_map.box import box

CASES = [
    ((3, 3), (1, 1), (1, 1)),
    ((3, 3), (1, 1), (0, 0)),
    ((5, 3), (1, 1), (2, 0)),
    ((3, 3), (1, 1), (4, 3)),
    ((1, 1), (1, 1), (0, 2)),
    ((4, 4), (1, 1), (2, 2)),
    ((3, 2), (2, 1), (1, 1)),
    ((3, 3), (2, 2), (2, 2)),
]


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "pads"), CASES)
def test_box_is_a_convolution_with_ones(kernel, stride, pads, negative):
    m = torch.randn(2, 3, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for given in (m, m.contiguous(memory_format=torch.channels_last)):
        x = given.clone().requires_grad_()

        def run(x):
            return box(x, kernel, stride, tuple((p, p) for p in pads), (1, 1), 4, negative=negative)

        ones = torch.full((1, 1, *kernel), (-1 if negative else 1) / 4, dtype=torch.float64)
        wanted = F.conv2d(x.reshape(-1, 1, 7, 6), ones, stride=stride, padding=pads)
        torch.testing.assert_close(run(x), wanted.view(2, 3, *wanted.shape[2:]), rtol=0, atol=1e-12)
        assert torch.autograd.gradcheck(run, (x,), fast_mode=True)
        assert torch.autograd.gradgradcheck(run, (x,), fast_mode=True)
