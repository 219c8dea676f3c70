"""The sheet of channels and its pooling matrix, against loops over the channels."""

import pytest
import torch

from surgeon.errors import LayerError
from surgeon.methods.kap.sheet import largest_kernel, pooled_sheet, pooling_matrix, sheet_shape, widened_sheet
from tests.reference import kap as reference


@pytest.mark.parametrize("channels", range(1, 130))
def test_sheet_is_the_closest_factor_pair(channels):
    assert sheet_shape(channels) == reference.closest_factors(channels)
    assert sheet_shape(channels, dims=1) == (1, channels)


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "dims", "sheet"),
    [
        (16, 3, 1, 2, None),
        (64, 3, 1, 2, None),
        (64, 5, 2, 2, None),
        (64, 3, 3, 2, None),
        (144, 3, 3, 2, (12, 12)),
        (72, 3, 3, 2, (6, 12)),
        (12, 3, 1, 2, (4, 3)),
        (12, 1, 1, 2, None),
        (13, 5, 1, 2, None),
        (13, 3, 2, 2, None),
        (1, 3, 1, 2, None),
        (1, 3, 1, 1, None),
        (10, 7, 1, 1, None),
        (10, 3, 3, 1, None),
        (10, 9, 4, 1, None),
    ],
)
def test_matrix_is_the_mean_of_every_window(channels, kernel, stride, dims, sheet):
    places = sheet or (reference.closest_factors(channels) if dims == 2 else (1, channels))
    members = reference.windows(places, kernel, stride)
    expected = torch.zeros(len(members), channels, dtype=torch.float64)
    for row, covered in enumerate(members):
        for channel in covered:
            expected[row, channel] = 1 / len(covered)
    matrix = pooling_matrix(channels, kernel, stride, dims, sheet=sheet)
    assert matrix.dtype == torch.float64
    torch.testing.assert_close(matrix, expected, rtol=0, atol=1e-12)
    rows, cols = pooled_sheet(places, kernel, stride, dims)
    assert rows * cols == len(members)


def test_matrix_takes_dtype_and_device():
    matrix = pooling_matrix(9, 3, dtype=torch.float16, device="meta")
    assert matrix.dtype == torch.float16 and matrix.device.type == "meta" and matrix.shape == (9, 9)


def test_eight_by_eight_with_three_is_singular():
    matrix = pooling_matrix(64, 3)
    assert torch.linalg.matrix_rank(matrix) < 64


@pytest.mark.parametrize("channels", [1, 2, 7, 8, 12, 64])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("dims", [1, 2])
def test_widened_sheet_pools_back(channels, stride, dims):
    wide = widened_sheet(channels, stride, dims)
    assert wide[0] * wide[1] == channels * stride**dims
    assert pooled_sheet(wide, 1, stride, dims) == sheet_shape(channels, dims)


@pytest.mark.parametrize(
    ("sheet", "dims", "largest"),
    [
        ((8, 8), 2, 7),
        ((4, 16), 2, 3),
        ((1, 13), 2, 13),
        ((1, 8), 1, 7),
        ((1, 1), 2, 1),
        ((2, 9), 2, 1),
        ((9, 1), 2, 9),
    ],
)
def test_largest_kernel_fits_and_the_next_does_not(sheet, dims, largest):
    assert largest_kernel(sheet, dims) == largest
    pooled_sheet(sheet, largest, 1, dims)
    if sheet != (1, 1):
        with pytest.raises(LayerError, match=f"largest odd size is {largest}$"):
            pooled_sheet(sheet, largest + 2, 1, dims)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: sheet_shape(0), "channels=0 has no sheet; it must be an integer of at least 1"),
        (lambda: sheet_shape(2.0), "channels=2.0 has no sheet"),
        (lambda: sheet_shape(8, 3), "dims=3 is not a sheet; 1 (a line) and 2"),
        (
            lambda: pooling_matrix(64, 4),
            "kernel_size=4 must be odd and positive, so that a window has a centre; 3 or 5",
        ),
        (lambda: pooling_matrix(64, 0), "kernel_size=0 must be odd and positive"),
        (lambda: pooling_matrix(64, True), "kernel_size=True must be odd and positive"),
        (lambda: pooling_matrix(64, 3, 0), "stride=0 must be an integer of at least 1"),
        (
            lambda: pooling_matrix(64, 5, sheet=(4, 16)),
            "kernel_size=5 exceeds the 4x16 sheet of 64 channels; largest odd size is 3",
        ),
        (
            lambda: pooling_matrix(8, 9, dims=1),
            "kernel_size=9 exceeds the 1x8 sheet of 8 channels; largest odd size is 7",
        ),
        (
            lambda: pooling_matrix(2, 3),
            "kernel_size=3 exceeds the 1x2 sheet of 2 channels; largest odd size is 1",
        ),
        (lambda: pooling_matrix(64, 3, sheet=(4, 8)), "sheet 4x8 has 32 places for 64 channels; 8x8 fits"),
        (lambda: pooling_matrix(64, 3, sheet=(64,)), "must be two positive integers (rows, columns)"),
        (
            lambda: pooling_matrix(64, 3, dims=1, sheet=(8, 8)),
            "sheet 8x8 is two-dimensional but dims=1; 1x64 fits",
        ),
        (lambda: widened_sheet(8, 0), "stride=0 must be an integer of at least 1"),
    ],
)
def test_errors_say_what_is_wrong(call, text):
    with pytest.raises(LayerError) as caught:
        call()
    assert text in str(caught.value)
