"""Statistics by channel in one pass over batches, which can be merged over parts of the data and over processes.

Counts, means and sums of squares are kept in float64 and joined by Chan's formulas (Chan, Golub, LeVeque 1979), so
that neither a large mean nor many batches lose digits. Quantiles come from a sample of fixed size in which each
value has the same chance to be, whatever batches the data came in.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon.errors import LayerError

SAMPLE = 4096
"""Values kept per channel for quantiles: the standard error of a quantile's rank is at most 0.5/√4096 = 0.8 %."""


_OF = ("values", "means")


class ChannelStatistics:
    """Mean, variance, and on request covariance and quantiles of each channel.

    Args:
        channels: Number of channels.
        axis: Axis of the channels in the batches: 1 in (N, C, H, W), -1 in (N, L, C).
        covariance: Whether the covariance of the channels is kept too, C × C numbers.
        quantiles: Whether a sample is kept for quantiles, 4,096 numbers per channel.
        seed: Seed of the sample. Parts that are merged need different seeds.
        of: "values" counts every number of a channel; "means" counts one number for each row of the batch, the mean
            over its positions: what global average pooling gives.

    Raises:
        LayerError: `of` is another word.

    Examples:
        >>> import torch
        >>> seen, more = ChannelStatistics(2, quantiles=True), ChannelStatistics(2, quantiles=True, seed=1)
        >>> seen.update(torch.tensor([[1.0, 10.0], [3.0, 10.0]]))
        >>> seen.mean.tolist(), seen.variance.tolist()
        ([2.0, 10.0], [1.0, 0.0])
        >>> more.update(torch.tensor([[8.0, 10.0]]))
        >>> seen.merge(more)
        >>> seen.count, seen.quantile(0.5)
        (3, tensor([ 3., 10.]))
    """

    def __init__(
        self,
        channels: int,
        axis: int = 1,
        *,
        covariance: bool = False,
        quantiles: bool = False,
        seed: int = 0,
        of: str = "values",
    ) -> None:
        if of not in _OF:
            raise LayerError(f"statistics of {of!r}: there are those of {' and of '.join(map(repr, _OF))}")
        self.axis, self.of = axis, of
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self._squares = torch.zeros(channels, dtype=torch.float64)
        self._products = torch.zeros(channels, channels, dtype=torch.float64) if covariance else None
        self._keys = torch.empty(channels, 0) if quantiles else None
        self._sample = torch.empty(channels, 0)
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def variance(self) -> Tensor:
        """(C,) float64: the mean squared distance from the mean; 0 before anything was seen."""
        return self._squares / max(self.count, 1)

    @property
    def deviation(self) -> Tensor:
        """(C,) float64: the square root of the variance."""
        return self.variance.sqrt()

    @property
    def covariance(self) -> Tensor:
        """(C, C) float64.

        Raises:
            LayerError: It was not asked for.
        """
        if self._products is None:
            raise LayerError("the covariance was not asked for when these statistics were made")
        return self._products / max(self.count, 1)

    def quantile(self, share: float) -> Tensor:
        """Return the value that a share of each channel's values lies below.

        Args:
            share: From 0 to 1; 0.5 gives the median.

        Returns:
            (C,) float32: exact up to 4,096 values a channel, estimated from as many beyond.

        Raises:
            LayerError: Quantiles were not asked for, or nothing was seen.
        """
        if self._keys is None or not self._sample.shape[1]:
            raise LayerError("there is no sample for quantiles: they were not asked for, or nothing was seen")
        return torch.quantile(self._sample, share, dim=1)

    def update(self, batch: Tensor) -> None:
        """Take in a batch.

        Args:
            batch: (N, C, ...) or, by `axis`, (N, ..., C); what counts of a channel counts alike.

        Raises:
            LayerError: It has another number of channels, or numbers that are not finite.
        """
        rows = self._rows(batch)
        if len(rows) != len(self.mean):
            raise LayerError(
                f"statistics are of {len(self.mean)} channels; axis {self.axis} of {tuple(batch.shape)} has {len(rows)}"
            )
        if not rows.shape[1]:
            return
        mean = rows.mean(1)
        if not bool(torch.isfinite(mean).all()):
            raise LayerError("statistics were given numbers that are not finite")
        centred = rows - mean.unsqueeze(1)
        products = centred @ centred.T if self._products is not None else None
        self._join(rows.shape[1], mean, centred.square().sum(1), products)
        if self._keys is not None:
            self._keep(torch.rand(rows.shape, generator=self._generator), rows.float())

    def _rows(self, batch: Tensor) -> Tensor:
        """Return (C, count) float64: the numbers of each channel that count."""
        values = batch.detach().double().movedim(self.axis, 0)
        if self.of == "means" and values.dim() > 2:
            values = values.flatten(2).mean(2) if values.numel() else values.flatten(2)[..., 0:0]
        return values.flatten(1).cpu()

    def merge(self, other: ChannelStatistics) -> None:
        """Take in what another pass has seen, such as that of another process.

        Args:
            other: Statistics of the same channels, with the same things kept.

        Raises:
            LayerError: They do not fit together.
        """
        ours = (len(self.mean), self._products is None, self._keys is None, self.of)
        if ours != (len(other.mean), other._products is None, other._keys is None, other.of):
            raise LayerError("only statistics of the same channels that keep the same things can be merged")
        if other.count:
            self._join(other.count, other.mean, other._squares, other._products)
        if other._keys is not None:
            self._keep(other._keys, other._sample)

    def _join(self, count: int, mean: Tensor, squares: Tensor, products: Tensor | None) -> None:
        """Join a part's count, mean and sums of squares with those kept."""
        total = self.count + count
        apart = mean - self.mean
        weight = self.count * count / total
        self._squares = self._squares + squares + apart.square() * weight
        if self._products is not None and products is not None:
            self._products = self._products + products + torch.outer(apart, apart) * weight
        self.mean = self.mean + apart * (count / total)
        self.count = total

    def _keep(self, keys: Tensor, values: Tensor) -> None:
        """Keep the values with the largest random keys: each value is among them with the same chance."""
        assert self._keys is not None
        keys, values = torch.cat([self._keys, keys], 1), torch.cat([self._sample, values], 1)
        chosen = keys.topk(min(SAMPLE, keys.shape[1]), dim=1).indices
        self._keys, self._sample = keys.gather(1, chosen), values.gather(1, chosen)
