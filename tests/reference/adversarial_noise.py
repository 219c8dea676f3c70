"""Adversarial noise written sample by sample from eq. 4 and Algorithm 2 of its paper, in float64."""

import math

import torch


def eta(gradient, std, magnitudes):
    out = torch.zeros_like(gradient, dtype=torch.float64)
    for n in range(len(gradient)):
        largest = max((abs(v) for v in gradient[n].flatten().tolist()), default=0.0)
        if largest > 0:
            for place, value in enumerate(gradient[n].flatten().tolist()):
                out[n].view(-1)[place] = float(magnitudes[n]) * float(std) * value / largest
    return out


def standard_deviation(h):
    values = h.detach().flatten().tolist()
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))


def update_cache(cache, gradient, labels, order):
    """Algorithm 2's cache as a dictionary: class -> gradient of its sample that is last in `order`."""
    for position in order:
        cache[int(labels[position])] = gradient[position].clone()
    return cache
