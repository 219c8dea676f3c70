"""A network during a training, and as its caller has it back: where it was, in its mode, without accelerate's marks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from surgeon.kept_modes import modes_kept
from surgeon.tensors.memory_format import lay
from surgeon.training.two_rounds import set_noise

_MARKS = ("forward", "_original_forward", "_is_accelerate_prepared")
"""Attributes that accelerate leaves on a model that it prepared; they are valid for one accelerator only."""


@contextlib.contextmanager
def given_back(model: nn.Module) -> Iterator[None]:
    """Have a network free of an earlier accelerator's marks; at exit it is on its device, each module in its mode.

    Its noise layers are on afterwards.

    Args:
        model: The network.

    Yields:
        None.
    """
    old_device = next((p.device for p in model.parameters()), torch.device("cpu"))
    marks = {name: vars(model)[name] for name in _MARKS if name in vars(model)}
    # accelerate skips a model that it prepared before, and would leave it on another accelerator's device.
    vars(model).pop("_is_accelerate_prepared", None)
    if vars(model).pop("_original_forward", None) is not None:
        del model.forward
    try:
        with modes_kept(model):
            yield
    finally:
        for name in _MARKS:
            vars(model).pop(name, None)
        vars(model).update(marks)
        set_noise(model, True)
        lay(model.to(old_device), torch.contiguous_format)
