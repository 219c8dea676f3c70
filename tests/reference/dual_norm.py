"""A batch norm and an auxiliary one, channel by channel in float64, from arXiv 1911.09665."""

import math


def new(weight=1.0, bias=0.0):
    """Scale, shift, running mean and variance of one channel."""
    return {"weight": weight, "bias": bias, "mean": 0.0, "var": 1.0}


def normalized(state, numbers, *, training, eps=1e-5, momentum=0.1):
    """The normalised numbers of one channel; in training the running statistics take part of theirs."""
    mean, var = state["mean"], state["var"]
    if training:
        count = len(numbers)
        mean = math.fsum(numbers) / count
        squares = math.fsum((z - mean) ** 2 for z in numbers)
        var = squares / count
        state["mean"] += momentum * (mean - state["mean"])
        state["var"] += momentum * (squares / (count - 1) - state["var"])
    return [state["weight"] * (z - mean) / math.sqrt(var + eps) + state["bias"] for z in numbers]
