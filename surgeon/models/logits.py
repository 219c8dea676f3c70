"""A network's logits in evaluation mode, and how far those of another one are from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from surgeon.effects import Drift
from surgeon.graph.measuring.measure import images_of
from surgeon.graph.trees.left_alone import left_alone
from surgeon.kept_modes import mode
from surgeon.numerals import percent
from surgeon.warned import warn

NAMES = ("logits", "out")
"""What libraries call the logits among a network's outputs: the first one that is there is meant."""


def named(output: object) -> Tensor | None:
    """Return the logits where a network says by their name which of its outputs they are.

    Args:
        output: What the network returned.

    Returns:
        The entry `logits` or `out` of a mapping, a named tuple or a dataclass; None without one.

    Examples:
        >>> import torch
        >>> named({"loss": torch.tensor(0.5), "logits": torch.ones(2)})
        tensor([1., 1.])
        >>> named((torch.ones(2),)) is None
        True
    """
    if isinstance(output, Mapping):
        entries = (output.get(name) for name in NAMES)
    elif dataclasses.is_dataclass(output) or (isinstance(output, tuple) and hasattr(output, "_fields")):
        entries = (getattr(output, name, None) for name in NAMES)
    else:
        return None
    return next((e for e in entries if isinstance(e, Tensor)), None)


def sum_of_probabilities(logits: Tensor) -> str:
    """Return what every row sums to, where rows are probabilities or these times one factor, as added softmaxes are.

    Args:
        logits: (N, K).

    Returns:
        The sum in words; empty where a row has a negative number or another sum. Of rows that are nearly the same, as
        of a network that says one thing, a sum other than 1 says nothing.

    Examples:
        >>> import torch
        >>> rows = torch.tensor([[1.0, 2.0, 0.0], [-1.0, 0.5, 3.0]])
        >>> sum_of_probabilities(rows), sum_of_probabilities(rows.softmax(1)), sum_of_probabilities(2 * rows.softmax(1))
        ('', '1', '2')
    """
    if len(logits) == 0 or bool((logits < 0).any()):
        return ""
    rows = logits.double()
    sums = rows.sum(1)
    if bool(((sums - 1).abs() < 1e-3).all()):
        return "1"
    total, spread = float(sums.mean()), float(sums.max() - sums.min())
    apart = float((rows.amax(0) - rows.amin(0)).max())
    alike = spread <= 1e-5 * total and apart > 100 * max(spread, 1e-7 * total)
    return f"{total:.4g}" if alike else ""


def tell_of_sigmoid(logits: Tensor) -> None:
    """Warn of outputs that all lie between 0 and 1, as behind a sigmoid.

    A softmax of them is nearly flat, and where the sigmoid is saturated it hides gradients from attacks.

    Args:
        logits: (N, K).

    Warns:
        UserWarning: They do, and are not all the same.
    """
    if logits.numel() == 0:
        return
    low, high = float(logits.min()), float(logits.max())
    if 0 <= low < high <= 1:
        warn(
            "every output of the model is between 0 and 1, as behind a sigmoid, and is taken for a logit all the same: "
            "take the sigmoid off if there is one, as it hides gradients and keeps a loss from falling"
        )


def tell_of_precision(logits: Tensor) -> None:
    """Warn of logits of 16 bits, as a model gives that computes under an autocast of its own.

    Logits that are nearly equal are one number there, and gradients that go through them lose digits, or vanish.

    Args:
        logits: (N, K).

    Warns:
        UserWarning: They have 16 bits or fewer.

    Examples:
        >>> tell_of_precision(torch.zeros(2, 3))
    """
    if torch.finfo(logits.dtype).bits <= 16:
        warn(
            f"the model gives logits of {logits.dtype}, as under an autocast in its forward: they are rounded to "
            f"{percent(torch.finfo(logits.dtype).eps)} of their size, so that small margins and gradients vanish and "
            "attacks may find less; evaluate it with a forward in float32"
        )


def first_tensor(output: object) -> Tensor | None:
    """Return the main output of a network.

    Args:
        output: What the network returned.

    Returns:
        The tensor itself, the logits that are named so, or else the first tensor in a tuple, list, dict or dataclass;
        None if it holds no tensor.

    Examples:
        >>> import torch
        >>> first_tensor({"loss": torch.tensor(0.5), "logits": torch.ones(2)})
        tensor([1., 1.])
    """
    if isinstance(output, Tensor):
        return output
    if (logits := named(output)) is not None:
        return logits
    if dataclasses.is_dataclass(output):
        output = vars(output)
    values = list(output.values()) if isinstance(output, dict) else output
    if isinstance(values, (list, tuple)):
        return next((t for v in values if (t := first_tensor(v)) is not None), None)
    return None


def compare_logits(
    before: nn.Module, after: nn.Module, images: Tensor, source: Literal["test", "calibration", "noise"]
) -> Drift | None:
    """Measure the drift between two networks in evaluation mode.

    Args:
        before: The reference.
        after: The other network.
        images: (N, C, H, W).
        source: What the images are, for the record.

    Returns:
        The drift, or None if the networks return nothing that can be compared.
    """
    return drift_of(logits_of(before, images), logits_of(after, images), source)


def logits_of(model: nn.Module, images: Tensor) -> Tensor | None:
    """Return a network's output in evaluation mode.

    Args:
        model: The network, which is left as it was.
        images: (N, C, H, W).

    Returns:
        (N, ...) float64, flattened per image; None if the network returns no tensor.
    """
    like = next((p for p in model.parameters() if p.is_floating_point()), images)
    with left_alone(model), mode(model, False), torch.no_grad():
        outputs = [
            first_tensor(model(*[part.to(like, copy=True)] * images_of(model))) for part in images.split(16)
        ]
    tensors = [t for t in outputs if t is not None]
    return torch.cat(tensors).double().flatten(1) if len(tensors) == len(outputs) else None


def drift_of(
    old: Tensor | None, new: Tensor | None, source: Literal["test", "calibration", "noise"]
) -> Drift | None:
    """Compute the drift between logits.

    Args:
        old: (N, ...), as from `logits_of`, or None.
        new: (N, ...), or None.
        source: What the images are, for the record.

    Returns:
        The drift, or None if the logits cannot be compared.
    """
    if old is None or new is None or old.shape != new.shape:
        return None
    return Drift(
        relative=float((new - old).norm() / old.norm().clamp_min(1e-30)),
        agreement=float((old.argmax(1) == new.argmax(1)).double().mean()),
        images=len(old),
        source=source,
    )
