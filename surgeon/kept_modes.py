"""The mode of each module of a network, training or evaluation: kept, or one for all, for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def modes_kept(*networks: nn.Module) -> Iterator[None]:
    """Give each module its own mode back at exit, also on an error.

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
    with modes_kept(model):
        for module in model.modules():
            _put(module, training)
        yield


def _put(module: nn.Module, training: bool) -> None:
    """Set a module's mode. nn.Module's own way of setting an attribute takes a tenth of a whole surgery; classes that
    have another one, such as TorchScript's, need it."""
    if type(module).__setattr__ is nn.Module.__setattr__:
        object.__setattr__(module, "training", training)
    else:
        module.training = training
