"""Squeeze-and-excitation of one image, number by number in float64, from the equations of arXiv 1709.01507."""

import math


def squeezed_excited(image, squeeze, squeeze_bias, excite, excite_bias):
    """image: for each channel its numbers at all positions. The weights are twice the paper's sigmoids."""
    means = [math.fsum(channel) / len(channel) for channel in image]
    hidden = [
        max(0.0, math.fsum(w * z for w, z in zip(row, means, strict=True)) + b)
        for row, b in zip(squeeze, squeeze_bias, strict=True)
    ]
    found = []
    for channel, row, b in zip(image, excite, excite_bias, strict=True):
        s = 1 / (1 + math.exp(-math.fsum(w * h for w, h in zip(row, hidden, strict=True)) - b))
        found.append([2 * s * u for u in channel])
    return found
