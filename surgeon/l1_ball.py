"""The projection onto what an L1 ball and the box [0, 1] have in common, exact."""

from __future__ import annotations

import torch
from torch import Tensor


def onto_l1_ball(x: Tensor, images: Tensor, eps: float) -> Tensor:
    """Project points onto {z in [0, 1]: ‖z − image‖₁ ≤ ε}, the nearest in L2 (Croce & Hein 2021, Proposition 1).

    Projecting onto the ball and then onto the box, one after the other, gives points that are too far inside, and
    weakens attacks. The solution is z − image = sign(δ) · min(max(|δ| − λ, 0), room) with δ = x − image and the
    room that a pixel has in that direction; λ ≥ 0 is found between the sorted points where a pixel's share begins
    or ends, where the length is a straight line in λ.

    Args:
        x: (N, …), the points.
        images: (N, …) in [0, 1], the centres.
        eps: Radius of the ball, in [0, 1] pixels.

    Returns:
        (N, …).

    Examples:
        >>> import torch
        >>> from surgeon.l1_ball import onto_l1_ball
        >>> images = torch.tensor([[0.9, 0.5]])
        >>> onto_l1_ball(torch.tensor([[1.9, 1.0]]), images, 0.3)
        tensor([[1.0000, 0.7000]])
    """
    centre = images.flatten(1).double()
    delta = x.flatten(1).double() - centre
    size = delta.abs()
    room = torch.where(delta > 0, 1 - centre, centre)
    # A pixel's share of the length is its room up to λ = size − room, then falls by 1 per λ, and is 0 from size on.
    ends, falls = size, (size - room).clamp_min(0)
    knots, order = torch.cat([falls, ends], 1).sort(dim=1)
    unit = torch.ones_like(size)
    slopes = torch.cat([-unit, unit], 1).gather(1, order).cumsum(1)
    start = torch.minimum(size, room).sum(1, keepdim=True)  # the length at λ = 0
    drops = slopes[:, :-1] * (knots[:, 1:] - knots[:, :-1])
    lengths = torch.cat([start, start + drops.cumsum(1)], 1)  # at each knot; before the first it is `start`
    inside = start <= eps
    # The last knot where the length is still at least ε; lengths fall, so it is found by counting.
    place = ((lengths >= eps).sum(1, keepdim=True) - 1).clamp_min(0)
    slope = slopes.gather(1, place)
    step = (lengths.gather(1, place) - eps) / (-slope).clamp_min(1)
    level = torch.where(inside, torch.zeros_like(start), knots.gather(1, place) + step)
    share = torch.minimum((size - level).clamp_min(0), room)
    return (centre + delta.sign() * share).view_as(x).to(x.dtype)
