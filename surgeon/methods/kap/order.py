"""The order of the channels on the sheet, chosen so that pooling loses least of what a trained layer says.

Which channel lies where on the sheet of kernel average pooling is a matter of labels, and a trained network knows
nothing of it: neighbours are unrelated, and what the pooling cannot express (A is singular for many sheets, 8x8 with K=3
for one) hits at random. Placing the channels well is a quadratic assignment; this is a local search for it.
Here: the paper trains from scratch, where every order is as good as any.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon.methods.kap.weights import Factors, lstsq_sheet_weight

_MOST_WORK = 1.5e10
_ENOUGH = 1e-5


def pooling_loss(factors: Factors, ridge: float) -> Tensor:
    """(C, C), float64: what a ridge regression through A must give up, by place on the sheet.

    min over W' of ||A W' - W||^2 + ridge ||W'||^2 is the trace of W^T L W, with L this matrix: near 1 along what A
    annihilates, near 0 along what it keeps. Square factors only (stride 1).
    """
    (ur, sr, _), (uc, sc, _) = (torch.linalg.svd(f.double()) for f in factors)
    squares = torch.outer(sr, sc).flatten().square()
    turned = torch.kron(ur, uc)
    return (turned * (ridge / (squares + ridge))) @ turned.mT


def channel_order(loss: Tensor, gram: Tensor) -> Tensor:
    """(C,) int64: for each place of the sheet the channel that should lie there.

    `loss` (C, C) as of `pooling_loss`, by places; `gram` (C, C), by channels, what the layer says: W W^T, or the covariance
    of its outputs. Minimises sum_ij loss_ij gram_p(i)p(j) by exchanging pairs, many at a time while that helps,
    then the best one; from the present order, deterministically. It never ends with a larger loss than that order's.
    """
    loss = loss.double()
    gram = gram.to(loss)
    number = len(gram)
    order = torch.arange(number, device=gram.device)
    if number < 2 or not bool(torch.isfinite(gram).all()):
        return order
    value = _value(loss, gram, order)
    together = max(1, number // 8)
    for _ in range(max(6, min(100, int(_MOST_WORK / number**3)))):
        pairs = _best_pairs(_gains(loss, gram[order][:, order]), together)
        if not pairs:
            break
        trial = order.clone()
        for i, j in pairs:
            trial[[i, j]] = order[[j, i]]
        found = _value(loss, gram, trial)
        if found < value:
            gain, order, value = (value - found) / abs(value), trial, found
            if gain > _ENOUGH or together > 1:
                continue
        if together == 1:
            break
        together = max(1, together // 2)
    return order


def weight_order(weight: Tensor, factors: Factors, ridge: float) -> Tensor:
    """The order in which pooling loses least of a convolution's kernels, (C, ...), themselves."""
    flat = weight.detach().double().flatten(1)
    return channel_order(pooling_loss(factors, ridge).to(flat.device), flat @ flat.mT)


def lstsq_ordered_weight(weight: Tensor, factors: Factors, ridge: float, order: Tensor | None) -> Tensor:
    """`lstsq_sheet_weight` where place k of the sheet holds channel `order[k]`; None: row by row."""
    if order is None:
        return lstsq_sheet_weight(weight, factors, ridge)
    order = order.to(weight.device)
    return lstsq_sheet_weight(weight[order], factors, ridge)[torch.argsort(order)]


def _value(loss: Tensor, gram: Tensor, order: Tensor) -> float:
    return float((loss * gram[order][:, order]).sum())


def _gains(loss: Tensor, gram: Tensor) -> Tensor:
    """(C, C): what exchanging the channels at places i and j changes; `gram` in the present order."""
    product = loss @ gram
    own, said = loss.diagonal(), gram.diagonal()
    rest = product + product.mT - product.diagonal().unsqueeze(1) - product.diagonal()
    rest = rest - (own.unsqueeze(1) - loss) * (gram - said.unsqueeze(1))
    rest = rest - (loss - own) * (said - gram)
    return 2 * rest + (own.unsqueeze(1) - own) * (said - said.unsqueeze(1))


def _best_pairs(gains: Tensor, number: int) -> list[tuple[int, int]]:
    """Up to `number` disjoint exchanges that each lower the loss, the best first."""
    best, partner = gains.min(1)
    taken: set[int] = set()
    pairs: list[tuple[int, int]] = []
    for i in torch.argsort(best).tolist():
        j = int(partner[i])
        if len(pairs) == number or float(best[i]) >= 0:
            break
        if i not in taken and j not in taken:
            taken |= {i, j}
            pairs.append((i, j))
    return pairs
