"""DropChannel-Mean by loops in float64."""

import math


def channel_mean(x, share):
    """The layer with the batch's own statistics: (N, C, ...)."""
    found = []
    for c in range(x.shape[1]):
        values = x[:, c].double().flatten().tolist()
        mean = math.fsum(values) / len(values)
        found.append((math.fsum((v - mean) ** 2 for v in values) / len(values), c, mean))
    out = x.double().clone()
    for _, c, mean in sorted(found)[: round(share * x.shape[1])]:
        out[:, c] = mean
    return out
