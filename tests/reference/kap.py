"""Kernel Average Pooling as loops over channels, in float64, from its paper's eq. 2 and Algorithm 1."""

import math

import torch


def closest_factors(channels):
    pairs = [(r, channels // r) for r in range(1, channels + 1) if channels % r == 0 and r <= channels // r]
    return min(pairs, key=lambda pair: pair[1] - pair[0])


def windows(sheet, kernel_size, stride):
    """For each pooled channel the channels in its window; a side of one channel is not pooled along."""
    rows, cols = sheet
    reach, beyond = (kernel_size - 1) // 2, kernel_size // 2
    down = [0] if rows == 1 else range(0, rows, stride)
    across = [0] if cols == 1 else range(0, cols, stride)
    found = []
    for top in down:
        for left in across:
            members = []
            for r in range(top - reach, top + beyond + 1):
                for c in range(left - reach, left + beyond + 1):
                    if 0 <= r < rows and 0 <= c < cols:
                        members.append(r * cols + c)
            found.append(members)
    return found


def pool(x, kernel_size, stride, sheet, kind="mean", divisor="channels"):
    x = x.double()
    out = []
    for members in windows(sheet, kernel_size, stride):
        taken = [x[:, m] for m in members]
        if kind == "mean":
            total = taken[0].clone()
            for one in taken[1:]:
                total = total + one
            whole = kernel_size ** sum(side > 1 for side in sheet)
            out.append(total / (whole if divisor == "window" else len(taken)))
        else:
            best = taken[0]
            for one in taken[1:]:
                best = torch.where(one > best, one, best)
            out.append(best)
    return torch.stack(out, dim=1)


def weighted(x, kernel_size, stride, sheet, weight):
    """Means over windows; the channel `down` rows and `across` columns from the centre has weight(down, across)."""
    rows, cols = sheet
    reach, out = (kernel_size - 1) // 2, []
    for top in [0] if rows == 1 else range(0, rows, stride):
        for left in [0] if cols == 1 else range(0, cols, stride):
            total, sum_of_weights = torch.zeros_like(x[:, 0].double()), 0.0
            for r in range(top - reach, top + reach + 1):
                for c in range(left - reach, left + reach + 1):
                    if 0 <= r < rows and 0 <= c < cols:
                        total = total + weight(r - top, c - left) * x[:, r * cols + c].double()
                        sum_of_weights += weight(r - top, c - left)
            out.append(total / sum_of_weights)
    return torch.stack(out, dim=1)


def gaussian(sigma):
    return lambda down, across: math.exp(-(down**2 + across**2) / (2 * sigma**2))


def kernel(kind, x, kernel_size, stride, sheet, sigma):
    """Pooling with a Gaussian or Mexican-hat window."""
    near = weighted(x, kernel_size, stride, sheet, gaussian(sigma))
    if kind == "gaussian":
        return near
    return 2 * near - weighted(x, kernel_size, stride, sheet, gaussian(2 * sigma))
