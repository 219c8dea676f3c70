"""Statistics by channel: one pass, in parts, merged, against sums over everything at once in float64."""

import numpy
import pytest
import torch

from surgeon.errors import LayerError
from surgeon.tensors.channel_statistics import SAMPLE, ChannelStatistics


def whole(x):
    rows = numpy.asarray(x.double().movedim(1, 0).flatten(1))
    return rows.mean(1), rows.var(1), numpy.cov(rows, bias=True)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_parts_and_merges_equal_the_whole(offset):
    x = torch.randn(50, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + offset
    parts = [ChannelStatistics(3, covariance=True) for _ in range(3)]
    for part, chunk in zip(parts, x.split([7, 1, 42]), strict=True):
        for batch in chunk.split(5):
            part.update(batch)
    first, second, third = parts
    first.merge(second)
    first.merge(third)
    first.merge(ChannelStatistics(3, covariance=True))  # a process that saw nothing
    mean, variance, covariance = whole(x)
    assert first.count == 50 * 20
    torch.testing.assert_close(first.mean.numpy(), mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(first.variance.numpy(), variance, rtol=1e-8, atol=0)
    torch.testing.assert_close(first.covariance.numpy(), covariance, rtol=1e-7, atol=1e-9)


def test_tokens_count_by_their_last_axis():
    x = torch.randn(4, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = ChannelStatistics(3, -1)
    found.update(x)
    torch.testing.assert_close(found.mean, x.mean((0, 1)))


@pytest.mark.parametrize("axis", [1, -1])
def test_means_count_each_image_once(axis):
    x = torch.randn(9, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1e3
    wanted = x.mean((2, 3))
    given = x if axis == 1 else x.movedim(1, -1)
    parts = [ChannelStatistics(3, axis, of="means", covariance=True, quantiles=True) for _ in range(2)]
    for part, chunk in zip(parts, given.split([4, 5]), strict=True):
        for batch in chunk.split(2):
            part.update(batch)
    first, second = parts
    first.merge(second)
    mean, variance, covariance = whole(wanted)
    assert first.count == 9
    torch.testing.assert_close(first.mean.numpy(), mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(first.variance.numpy(), variance, rtol=1e-8, atol=0)
    torch.testing.assert_close(first.covariance.numpy(), covariance, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(first.quantile(0.5), wanted.float().median(0).values)
    first.update(given[:0])
    assert first.count == 9
    rows = ChannelStatistics(3, of="means")
    rows.update(wanted)  # without positions each row counts as it is
    assert rows.count == 9


def test_quantiles_are_exact_while_all_values_are_kept_and_close_beyond():
    generator = torch.Generator().manual_seed(0)
    few = torch.randn(10, 2, 5, generator=generator)
    exact = ChannelStatistics(2, quantiles=True)
    for part in few.split(3):
        exact.update(part)
    wanted = torch.quantile(few.movedim(1, 0).flatten(1), 0.3, dim=1)
    torch.testing.assert_close(exact.quantile(0.3), wanted)
    many = torch.rand(2, 1, 100_000, generator=generator)
    one, other = ChannelStatistics(1, quantiles=True, seed=1), ChannelStatistics(1, quantiles=True, seed=2)
    one.update(many[:1])
    other.update(many[1:] + 1)
    one.merge(other)
    # Half of the values lie below 1. The share below is estimated from SAMPLE draws: five standard errors.
    below = float((one.quantile(0.25) - 0.5).abs())
    assert below < 5 * 2 * (0.25 * 0.75 / SAMPLE) ** 0.5
    assert one._sample.shape == (1, SAMPLE)


def test_what_does_not_fit_is_an_error():
    with pytest.raises(LayerError, match="2 channels; axis 1"):
        ChannelStatistics(2).update(torch.zeros(1, 3))
    with pytest.raises(LayerError, match="not finite"):
        ChannelStatistics(1).update(torch.tensor([[float("nan")]]))
    with pytest.raises(LayerError, match="covariance was not asked for"):
        _ = ChannelStatistics(1).covariance
    with pytest.raises(LayerError, match="no sample for quantiles"):
        ChannelStatistics(1).quantile(0.5)
    with pytest.raises(LayerError, match="'median': there are those of 'values' and of 'means'"):
        ChannelStatistics(1, of="median")
    with pytest.raises(LayerError, match="merged"):
        ChannelStatistics(1).merge(ChannelStatistics(1, of="means"))
    with pytest.raises(LayerError, match="merged"):
        ChannelStatistics(1).merge(ChannelStatistics(1, covariance=True))
