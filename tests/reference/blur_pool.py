"""Blurs, convolutions and max poolings along one axis, number by number in float64, from arXiv 1904.11486."""

import math


def weights(size):
    """The binomial filter of `size` weights: Rect-2, Tri-3, Bin-5 and those between."""
    return [math.comb(size - 1, i) / 2 ** (size - 1) for i in range(size)]


def at(row, place, mode):
    """row[place], also outside of the row."""
    if 0 <= place < len(row):
        return row[place]
    if mode == "zeros":
        return 0.0
    if mode == "replicate":
        return row[0] if place < 0 else row[-1]
    if mode == "circular":
        return row[place % len(row)]
    assert mode == "reflect"
    return row[-place] if place < 0 else row[2 * (len(row) - 1) - place]


def blurred(row, place, size, mode):
    """The blurred value at a place, which may lie outside of the row."""
    first = place - (size - 1) // 2
    return math.fsum(a * at(row, first + i, mode) for i, a in enumerate(weights(size)))


def convolution(row, kernel, stride, padding, dilation, mode, size):
    """A convolution of the blurred row, at every `stride`-th place."""
    reach = dilation * (len(kernel) - 1)
    places = range(-padding, len(row) + padding - reach, stride)
    return [
        math.fsum(w * blurred(row, p + dilation * j, size, mode) for j, w in enumerate(kernel))
        for p in places
    ]


def max_pooling(row, kernel, stride, padding, size, number):
    """`number` blurred values of the maxima at every place."""
    inside = [
        [row[p] for p in range(first, first + kernel) if 0 <= p < len(row)]
        for first in range(-padding, len(row) + padding - kernel + 1)
    ]
    maxima = [max(values) for values in inside]
    return [blurred(maxima, stride * i, size, "replicate") for i in range(number)]
