"""Whether a graph gives outputs of the form that the code it was traced from gives: code may fill them by
hooks, which no graph shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from surgeon.kept_modes import mode
from surgeon.torch_private import FakeTensorMode


def form_of(value: Any) -> Any:
    """The classes, names and lengths of what an output is made of."""
    if isinstance(value, torch.Tensor):
        return torch.Tensor, tuple(value.shape)
    if isinstance(value, dict):
        return type(value), tuple((k, form_of(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return type(value), tuple(form_of(v) for v in value)
    return type(value)


def same_form(
    tree: nn.Module, run: Callable[..., Any], tensors: Mapping[str, Any], constants: Mapping[str, Any]
) -> bool:
    """Whether `run`, the evaluation graph of `tree` as a function, gives what the code of `tree` gives, by form alone.

    tree: a stock network that nobody else uses. tensors: the inputs of the graph by name, in order.
    constants: the other arguments. Both are run on tensors without numbers; where the code itself cannot be,
    the answer is yes.
    """
    with mode(tree, False), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True) as fake:
        given = {n: fake.from_tensor(t) if isinstance(t, torch.Tensor) else t for n, t in tensors.items()}
        wanted = _form(lambda: tree(**given, **constants))
        return wanted is None or wanted == _form(lambda: run(tree, *given.values()))


def _form(run: Callable[[], Any]) -> Any:
    try:
        return form_of(run())
    except Exception:  # the network's own code, which may raise anything on tensors without numbers
        return None
