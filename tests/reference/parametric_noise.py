"""Parametric noise, number by number in float64, from the equations of arXiv 1811.09310."""

import math


def spread(numbers):
    """σ: the population standard deviation."""
    mean = math.fsum(numbers) / len(numbers)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in numbers) / len(numbers))


def noisy(numbers, alpha, noise):
    """ṽ for N(0, 1) numbers `noise`, and its derivatives by each v and by α."""
    sigma = spread(numbers)
    return (
        [v + alpha * sigma * n for v, n in zip(numbers, noise, strict=True)],
        1.0,
        [sigma * n for n in noise],
    )
