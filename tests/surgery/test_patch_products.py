"""Sums of products of patches, from single rows of the image and from whole patches, against patches one by one."""

import pytest
import torch
from torch import nn

from surgeon.tensors.patch_products import products
from tests.surgery.test_equations import rows

SHAPES = {
    "padded": {"kernel_size": 3, "padding": 1},
    "not padded": {"kernel_size": (3, 2)},
    "padded by more than the kernel": {"kernel_size": (2, 3), "padding": (3, 2)},
    "five rows, columns in steps": {"kernel_size": (5, 3), "padding": (2, 1), "stride": (1, 2)},
    "with gaps": {"kernel_size": (3, 3), "padding": (2, 3), "dilation": (2, 3)},
    "rows in steps": {"kernel_size": 3, "padding": 1, "stride": (2, 1)},
    "same": {"kernel_size": 3, "padding": "same"},
    "same, of an even kernel with gaps": {"kernel_size": (4, 2), "padding": "same", "dilation": (1, 3)},
    "valid": {"kernel_size": (3, 2), "padding": "valid"},
    "a single row": {"kernel_size": (1, 3), "padding": (0, 1)},
}


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_each_two_entries_of_a_patch_and_each_output(shape, groups):
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 8, groups=groups, **shape).double()
    x = torch.randn(3, 4, 11, 9).double().contiguous(memory_format=torch.channels_last)
    y = layer(x).detach()
    got = products(layer, x, y)
    for g in range(groups):
        u = rows(layer, x.chunk(groups, 1)[g]).flatten(0, 1)
        out = y.chunk(groups, 1)[g].transpose(0, 1).flatten(1)
        torch.testing.assert_close(got.gram[g], u.mT @ u)
        torch.testing.assert_close(got.cross[g], out @ u)
        torch.testing.assert_close(got.patches[g], u.sum(0))


def test_rows_at_the_edge_that_outweigh_the_rest_are_taken_off_without_a_trace():
    """What is subtracted is a part of what was added: it leaves rounding, relative to the largest entry."""
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, 3, padding=1)
    x = torch.randn(16, 3, 12, 12)
    x[:, :, 0] *= 100
    x[:, :, -1] *= 100
    single, double = (products(layer, v, layer.to(v)(v).detach()) for v in (x, x.double()))
    for one, other in zip(single, double, strict=True):
        assert float((one - other).abs().max()) < 1e-5 * float(other.abs().max())
