"""k-winners-take-all by sorting, in float64 and exact fractions, from the equation of arXiv 1905.10510."""

import math
from fractions import Fraction


def winners(share, numbers):
    """⌈γ N⌉ for the γ that was written down, such as 0.1, without rounding."""
    return math.ceil(Fraction(str(share)) * numbers)


def k_winners(x, share):
    """The function, image by image; numbers equal to the last winner win too."""
    out = x.double().clone()
    for image in out:
        flat = image.reshape(-1)
        values = flat.tolist()
        least = sorted(values, reverse=True)[winners(share, len(values)) - 1]
        for i, value in enumerate(values):
            if value < least:
                flat[i] = 0.0
    return out
