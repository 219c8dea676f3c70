"""What one series of calls showed and another did not, in words.

Equal operations on equal values give equal bits, so that what differs at all is rare. It counts where it is more
than rounding: beyond √ε of the largest value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from surgeon.graph.comparing.side_by_side import Noted, Seen
from surgeon.values import has_values

_CERTAIN = 1e-2
"""A relative difference that no rounding explains, in single precision or better."""


@dataclass(frozen=True)
class Difference:
    """The first difference, in words, and whether it is so small that rounding might explain it."""

    reason: str
    small: bool = False


def difference(code: list[Seen], graph: list[Seen], before: Noted) -> Difference | None:
    """The first difference between what a network's code showed and what its graphs showed, or None.

    before: the network's attributes at the start.
    """
    made_once = _made_once([s.attributes for s in code], before)
    for one, other in zip(code, graph, strict=True):
        for words, here, there, least in (
            ("gives other values than its code", one.output, other.output, 0.0),
            ("has other gradients than its code", one.gradients, other.gradients, _largest(one.gradients)),
            ("leaves {0} otherwise than its code", one.tensors, other.tensors, 0.0),
            (
                "leaves {0} otherwise than its code",
                _without(one.attributes, made_once),
                other.attributes,
                0.0,
            ),
            ("leaves {0} in another mode than its code", one.modes, other.modes, 0.0),
            ("draws otherwise from {0} than its code", one.streams, other.streams, 0.0),
        ):
            for name, value in here.items():
                distance = _apart(value, there.get(name, _MISSING), 1e-3 * least)
                if distance:
                    text = words.format(name or "the network")
                    return Difference(f"its graph {text} for {one.call}", distance < _CERTAIN)
    return None


_MISSING = object()


def _apart(one: Any, other: Any, least: float) -> float:
    """How far two values are apart, relative to the larger of theirs and `least`; 0 within rounding."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return _tensors_apart(one, other, least)
    if isinstance(one, torch.Tensor) and other is None:  # no gradient is a gradient of zeros
        return math.inf if one.any() else 0.0
    if one is None and isinstance(other, torch.Tensor):
        return math.inf if other.any() else 0.0
    if type(one) is not type(other):
        return math.inf
    if isinstance(one, float):
        close = one == other or (math.isnan(one) and math.isnan(other))
        return 0.0 if close or math.isclose(one, other, rel_tol=1e-4) else math.inf
    return 0.0 if one == other else math.inf


def _tensors_apart(one: torch.Tensor, other: torch.Tensor, least: float) -> float:
    if (one.shape, one.dtype, one.requires_grad) != (other.shape, other.dtype, other.requires_grad):
        return math.inf
    if not (has_values(one) and has_values(other)):
        return math.inf
    if one.is_nested or one.layout != torch.strided or one.is_quantized or not one.numel():
        return 0.0
    one, other = one.detach(), other.detach().to(one.device)
    if torch.equal(one, other):
        return 0.0
    if not (one.is_floating_point() or one.is_complex()):
        return math.inf
    rounding = math.sqrt(torch.finfo(one.dtype).eps)
    wide = torch.complex128 if one.is_complex() else torch.float64
    one, other = one.to(wide), other.to(wide)
    # Infinities and NaN must agree exactly, and are then left out: they would swallow every other difference.
    odd = ~(one.isfinite() & other.isfinite())
    if odd.any():
        same = (one == other) | (one.isnan() & other.isnan())
        if not same[odd].all():
            return math.inf
        one, other = one[~odd], other[~odd]
        if not one.numel():
            return 0.0
    scale = max(float(one.abs().max()), float(other.abs().max()), least)
    apart = float((one - other).abs().max())
    return apart / scale if apart > rounding * scale else 0.0


def _largest(noted: Noted) -> float:
    values = [float(v.abs().max()) for v in noted.values() if isinstance(v, torch.Tensor) and v.numel()]
    return max((v for v in values if math.isfinite(v)), default=0.0)


def _made_once(series: list[Noted], before: Noted) -> set[str]:
    """Attributes that code makes at a first call and then keeps, such as a grid of positions: a graph holds what is
    in them, and whether other code reads them cannot be known."""
    names: set[str] = set()
    for name in {n for noted in series for n in noted}:
        held = [noted.get(name, _MISSING) for noted in series]
        first = next(i for i, v in enumerate(held) if v is not _MISSING)
        if before.get(name) is not None or (first and "{" not in name):
            continue
        if all(v is not _MISSING and _apart(held[first], v, 0.0) == 0.0 for v in held[first:]):
            names.add(name)
    return names


def _without(noted: Noted, names: set[str]) -> Mapping[str, Any]:
    return {n: v for n, v in noted.items() if n not in names}
