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
    deviation: bool = True,
    magnitude: str = "drawn",
) -> NoiseLayer:
    """Make the layer of a source, with those of the settings that it has.

    Args:
        source: "anl", "canl", "lat" or "gaussian".
        epsilon: Size of the noise.
        per_sample: One magnitude per sample instead of per batch (anl, canl).
        momentum: Weight of the current batch in a running s(h); None uses each batch's own (anl, canl).
        num_classes: Classes of the cache (canl).
        cache_dtype: Data type of the cache; None is that of the activations (canl).
        seed: Seed of the layer's own random stream; None draws one (anl, canl).
        deviation: Multiply by s(h) (anl, canl).
        magnitude: "drawn" by eq. 2, or "fixed" at ε/2 (anl, canl).

    Returns:
        The layer.

    Raises:
        LayerError: The source is unknown, or a setting is invalid.

    Examples:
        >>> make_layer("gaussian", 0.1)
        GaussianControl(epsilon=0.1)
    """
    if source not in SOURCES:
        raise LayerError(f"source={source!r} is not known; {', '.join(map(repr, SOURCES))} are")
    given = dict(
        per_sample=per_sample,
        momentum=momentum,
        num_classes=num_classes,
        cache_dtype=cache_dtype,
        seed=seed,
        deviation=deviation,
        magnitude=magnitude,
    )
    cls = SOURCES[source]
    return cls(epsilon, **{k: v for k, v in given.items() if k in cls.settings})
