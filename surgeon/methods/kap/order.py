"""Place the channels on the sheet so that pooling loses least of what a trained layer computes.

Which channel lies where on the sheet of kernel average pooling is a matter of labels, and a trained network
knows nothing of it: neighbours are unrelated, and what the pooling cannot express (A is singular for many
sheets, 8×8 with K = 3 for one) is lost at random. Placing the channels well is a quadratic assignment
problem; this is a local search. Here: the paper trains from scratch, where all orders are equally good.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surgeon.methods.kap.weights import Factors, lstsq_sheet_weight

_MOST_WORK = 1.5e10
_ENOUGH = 1e-5


def pooling_loss(factors: Factors, ridge: float) -> Tensor:
    """Return what a ridge regression through A loses, by place on the sheet.

    min over W' of ‖A W' − W‖² + ridge ‖W'‖² is the trace of Wᵀ L W, with L this matrix: near 1 along what A
    annihilates, near 0 along what it keeps.

    Args:
        factors: A_rows and A_columns, square (stride 1).
        ridge: The ridge.

    Returns:
        L, (C, C), float64.
    """
    (ur, sr, _), (uc, sc, _) = (torch.linalg.svd(f.double()) for f in factors)
    squares = torch.outer(sr, sc).flatten().square()
    turned = torch.kron(ur, uc)
    return (turned * (ridge / (squares + ridge))) @ turned.mT


def channel_order(loss: Tensor, gram: Tensor) -> Tensor:
    """Choose, for each place of the sheet, the channel that lies there.

    Minimises Σ_ij loss_ij gram_p(i)p(j) by exchanging pairs: many at a time while that helps, then the best
    one. It starts from the present order, is deterministic, and never ends with a larger loss than that
    order's.

    Args:
        loss: (C, C), by places, as from `pooling_loss`.
        gram: (C, C), by channels: W Wᵀ of the layer, or the covariance of its outputs.

    Returns:
        (C,) int64; the present order if `gram` is not finite.
    """
    loss = loss.double()
    gram = gram.to(loss)
    number = len(gram)
    order = torch.arange(number, device=gram.device)
    if number < 2 or not bool(torch.isfinite(gram).all()):
        return order
    value = _value(loss, gram, order)
    together = max(1, number // 8)
    # A round costs about C³: the wider a layer, the fewer of them.
    for _ in range(max(6, min(100, int(_MOST_WORK / number**3)))):
        pairs = _best_pairs(_gains(loss, gram[order][:, order]), together)
        if not pairs:
            break
        trial = order.clone()
        for i, j in pairs:
            trial[[i, j]] = order[[j, i]]
        reached = _value(loss, gram, trial)
        if reached < value:
            gain, order, value = (value - reached) / abs(value), trial, reached
            if gain > _ENOUGH or together > 1:
                continue
        # Exchanges that help one by one may spoil each other: with fewer at a time they do so less.
        if together == 1:
            break
        together = max(1, together // 2)
    return order


def weight_order(weight: Tensor, factors: Factors, ridge: float) -> Tensor:
    """Choose the order in which pooling loses least of a convolution's own kernels.

    Args:
        weight: (C, ...).
        factors: A_rows and A_columns, square.
        ridge: The ridge.

    Returns:
        (C,) int64, the channel at each place.
    """
    flat = weight.detach().double().flatten(1)
    return channel_order(pooling_loss(factors, ridge).to(flat.device), flat @ flat.mT)


def lstsq_ordered_weight(weight: Tensor, factors: Factors, ridge: float, order: Tensor | None) -> Tensor:
    """Solve `lstsq_sheet_weight` if place k of the sheet holds channel `order[k]`.

    Args:
        weight: (C, ...).
        factors: A_rows and A_columns.
        ridge: The ridge.
        order: (C,) int64, or None for row by row.

    Returns:
        (C, ...), in the layer's own order of channels.
    """
    if order is None:
        return lstsq_sheet_weight(weight, factors, ridge)
    order = order.to(weight.device)
    return lstsq_sheet_weight(weight[order], factors, ridge)[torch.argsort(order)]


def _value(loss: Tensor, gram: Tensor, order: Tensor) -> float:
    """Return the loss of an order."""
    return float((loss * gram[order][:, order]).sum())


def _gains(loss: Tensor, gram: Tensor) -> Tensor:
    """Return (C, C): by how much exchanging the channels at places i and j changes the loss.

    gram: in the present order.
    """
    product = loss @ gram
    loss_ii, gram_ii = loss.diagonal(), gram.diagonal()
    # Terms with a third place, without the two that are exchanged: their products are counted apart.
    rest = product + product.mT - product.diagonal().unsqueeze(1) - product.diagonal()
    rest = rest - (loss_ii.unsqueeze(1) - loss) * (gram - gram_ii.unsqueeze(1))
    rest = rest - (loss - loss_ii) * (gram_ii - gram)
    return 2 * rest + (loss_ii.unsqueeze(1) - loss_ii) * (gram_ii - gram_ii.unsqueeze(1))


def _best_pairs(gains: Tensor, number: int) -> list[tuple[int, int]]:
    """Return up to `number` disjoint exchanges that each lower the loss, the best first."""
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
