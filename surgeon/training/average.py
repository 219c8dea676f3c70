"""Averages of a training's weights: timm's moving average at each step, torch's equal one at the end of epochs."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from surgeon.errors import RecipeError
from surgeon.extra_state import left_out
from surgeon.recipe import Training
from surgeon.training.schedule import first_averaged


class MovingAverage:
    """e ← d·e + (1 − d)·w after each step, from e = w before the first; statistics of norms too (as timm's ModelEmaV3).

    A weight that has two names (tied layers) is moved once.

    Attributes:
        module: The network with the averaged weights, a copy.
        first: The first epoch that ends with one.

    Args:
        model: The network.
        decay: d.
        device: Where the average is kept.
    """

    first = 0

    def __init__(self, model: nn.Module, decay: float, device: torch.device) -> None:
        from torch.optim.swa_utils import get_ema_multi_avg_fn

        self._move = get_ema_multi_avg_fn(decay)
        self.module: nn.Module = copy.deepcopy(model).eval().to(device)

    def step(self, model: nn.Module) -> None:
        """Take the weights after a step."""
        with torch.no_grad():
            average, now = _distinct(self.module), _distinct(model)
            moved = [(e, w) for e, w in zip(average, now, strict=True) if _has_a_mean(e)]
            self._move([e for e, _ in moved], [w.to(e) for e, w in moved], 0)
            for e, w in zip(average, now, strict=True):
                if not _has_a_mean(e):
                    e.copy_(w)

    def epoch(self, model: nn.Module, epoch: int) -> None:
        """Take the weights after an epoch: nothing is left to do."""


class EqualAverage:
    """The mean of the weights after each epoch from one on (Izmailov et al. 2018, torch's AveragedModel).

    Buffers are those of the last of them. How many there were follows from the epoch, and needs no checkpoint.

    Attributes:
        module: The network with the averaged weights, a copy.
        first: The first epoch that is averaged.

    Args:
        model: The network.
        first: The first epoch.
        device: Where the average is kept.
    """

    def __init__(self, model: nn.Module, first: int, device: torch.device) -> None:
        from torch.optim.swa_utils import AveragedModel

        self._average = AveragedModel(model, device=device)
        self.module: nn.Module = self._average.module
        self.first = first

    def step(self, model: nn.Module) -> None:
        """Take the weights after a step: nothing is to do."""

    def epoch(self, model: nn.Module, epoch: int) -> None:
        """Take the weights after an epoch."""
        if epoch >= self.first:
            self._average.n_averaged.fill_(epoch - self.first)
            self._average.update_parameters(model)


Average = MovingAverage | EqualAverage


def _has_a_mean(tensor: Tensor) -> bool:
    """Whether numbers of a tensor's type lie between any two: counts and flags do not."""
    return tensor.is_floating_point() or tensor.is_complex()


def _distinct(model: nn.Module) -> list[Tensor]:
    """The tensors of a state dict, each once, whatever number of names it has."""
    # keep_vars, since detached tensors of one weight would be several objects.
    return list({id(t): t.detach() for t in model.state_dict(keep_vars=True).values()}.values())


def average_of(model: nn.Module, settings: Training, device: torch.device) -> Average | None:
    """Make the average of the weights that a training's settings ask for.

    Args:
        model: The network.
        settings: `ema` is the decay of a moving average, `swa` asks for an equal one.
        device: Where the average is kept.

    Returns:
        The average; None if the settings do not ask for it.

    Raises:
        RecipeError: The model has extra state that cannot be averaged.
    """
    if settings.ema is None and settings.swa is None:
        return None
    name = "swa" if settings.ema is None else f"ema={settings.ema}"
    if beside := left_out(model.state_dict()):
        raise RecipeError(
            f"{name} averages tensors, and {beside[0]} is not a tensor: train without {name.split('=')[0]}"
        )
    if settings.ema is not None:
        return MovingAverage(model, settings.ema, device)
    return EqualAverage(model, first_averaged(settings), device)
