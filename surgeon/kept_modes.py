"""The mode of each module of a network, training or evaluation: kept, or one for all, for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

METHODS = ("train", "eval")
"""By what a module's mode is set."""


def has_own(module: nn.Module) -> bool:
    """Whether a module's class, or the object, has a `train` or `eval` of its own.

    Args:
        module: The module.
    """
    kind = type(module)
    return any(getattr(kind, n, None) is not getattr(nn.Module, n) or n in module.__dict__ for n in METHODS)


@contextlib.contextmanager
def modes_kept(*networks: nn.Module) -> Iterator[None]:
    """Give each module its own mode back at exit, also on an error: by its own `train` where it has one.

    What such a method did when `eval()` was called inside, as merging weights, is so undone.

    Args:
        networks: The networks; modules that they get meanwhile keep the mode that they have.

    Yields:
        None.
    """
    before = [(m, m.training) for network in networks for m in network.modules()]
    try:
        yield
    finally:
        for module, training in before:
            if module.training != training and has_own(module):
                module.train(training)
        for module, training in before:
            _put(module, training)


@contextlib.contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Put every module in one mode, and give each its own back at exit, also on an error.

    The modules' own `train` is not called.

    Args:
        model: The network.
        training: Whether the mode is training.

    Yields:
        None.
    """
    before = [(m, m.training) for m in model.modules()]
    try:
        for module, _ in before:
            _put(module, training)
        yield
    finally:
        for module, own in before:
            _put(module, own)


def _put(module: nn.Module, training: bool) -> None:
    """Set a module's mode. nn.Module's own way of setting an attribute takes a tenth of a whole surgery; classes that
    have another one, such as TorchScript's, need it."""
    if type(module).__setattr__ is nn.Module.__setattr__:
        object.__setattr__(module, "training", training)
    else:
        module.training = training
