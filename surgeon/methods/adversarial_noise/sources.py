"""The noise layers by the names that recipes use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgeon.errors import LayerError
from surgeon.methods.adversarial_noise.anl import ANL
from surgeon.methods.adversarial_noise.base import NoiseLayer
from surgeon.methods.adversarial_noise.canl import CANL
from surgeon.methods.adversarial_noise.controls import LAT, GaussianControl

if TYPE_CHECKING:
    from torch import dtype

SOURCES: dict[str, type[NoiseLayer]] = {cls.source: cls for cls in (ANL, CANL, LAT, GaussianControl)}


def make_layer(
    source: str,
    epsilon: float = 0.03,
    *,
    per_sample: bool = True,
    momentum: float | None = None,
    num_classes: int | None = None,
    cache_dtype: dtype | None = None,
    seed: int | None = None,
) -> NoiseLayer:
    """The layer of one of SOURCES, with those of the settings that it has.

    Raises LayerError for an unknown source, and as the layer does.
    """
    if source not in SOURCES:
        raise LayerError(f"source={source!r} is not known; {', '.join(map(repr, SOURCES))} are")
    given = dict(
        per_sample=per_sample, momentum=momentum, num_classes=num_classes, cache_dtype=cache_dtype, seed=seed
    )
    cls = SOURCES[source]
    return cls(epsilon, **{k: v for k, v in given.items() if k in cls.settings})
