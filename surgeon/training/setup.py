"""The parts of a training before its first step: accelerator and optimizer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from surgeon.errors import ArgumentError, RecipeError, nearest
from surgeon.processes import device_named, left_at_exit
from surgeon.recipe import Training
from surgeon.training.schedule import schedule

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.optim import Optimizer


PRECISIONS = ("no", "bf16", "fp16")
_OF_LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables by which a launcher tells each process which one it is."""


def make_accelerator(
    device: str | torch.device | None,
    mixed_precision: str,
    settings: Training,
    *,
    idle: bool = False,
    twice: bool = False,
) -> Accelerator:
    """Make accelerate's Accelerator.

    Args:
        device: Where to train; None for accelerate's choice.
        mixed_precision: "no", "bf16" or "fp16".
        settings: Settings of the training.
        idle: Whether steps may leave parameters without gradients.
        twice: Whether a step calls the network twice before it goes backward.

    Returns:
        The accelerator.

    Raises:
        ArgumentError: The precision is unknown or not to be had on the device, the device does not exist, or accelerate
            cannot be started, mostly by variables of a launcher that is not there.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin

    if mixed_precision not in PRECISIONS:
        raise ArgumentError(f"mixed_precision={mixed_precision!r} is not known; 'no', 'bf16' and 'fp16' are")
    wanted = None if device is None else device_named(device)
    # Told so, accelerate joins the processes that a launcher began; by itself it looks for a graphics card first.
    on_cpu = wanted.type == "cpu" if wanted is not None else not torch.accelerator.is_available()
    if AcceleratorState._shared_state and PartialState().num_processes == 1:
        # accelerate keeps device and precision of the first Accelerator of the process for all later ones.
        AcceleratorState._reset_state(reset_partial_state=True)
    # DistributedDataParallel would wait for gradients that do not come. Shared batch norms have equal buffers on all
    # processes: they need not be sent. Nor are they between two calls, as the first one's gradients may need the old.
    parallel = DistributedDataParallelKwargs(
        find_unused_parameters=idle, broadcast_buffers=not (settings.exact or twice)
    )
    given = dict(os.environ)
    try:
        with left_at_exit():
            accelerator = Accelerator(
                cpu=on_cpu,
                mixed_precision=mixed_precision,
                kwargs_handlers=[parallel],
                # Told so, since a number of steps in the environment would divide each gradient by it.
                gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
            )
    except (ValueError, ImportError, RuntimeError, NotImplementedError) as error:
        _forget(given)
        raise _not_started(error, given) from error
    if accelerator.device.type == "meta":
        _forget(given)
        raise _not_started(ValueError("tensors of the device meta have no values"), given)
    if wanted is not None:
        _demand(wanted, accelerator.device)
    if mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise ArgumentError(  # accelerate would leave it out without a word
            "mixed_precision='fp16' is not done on a CPU: give 'bf16', which is, or 'no', or another device"
        )
    return accelerator


def _demand(wanted: torch.device, taken: torch.device) -> None:
    """Raise ArgumentError where accelerate takes another device than is wanted."""
    if wanted.type != taken.type:
        raise ArgumentError(f"device={str(wanted)!r} is not there; accelerate finds {taken.type}")
    if wanted.type != "cpu" and wanted.index not in (None, taken.index or 0):
        visible = {"cuda": "CUDA_VISIBLE_DEVICES", "xpu": "ZE_AFFINITY_MASK"}.get(wanted.type, "")
        how = f"start Python with {visible}={wanted.index} in its environment, and " if visible else ""
        raise ArgumentError(
            f"device={str(wanted)!r} is another than {taken}, which accelerate takes: {how}give device={wanted.type!r}"
        )


def _forget(given: Mapping[str, str]) -> None:
    """Take back what accelerate has kept on the way to an error: its state, and variables that were not there."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    for name in os.environ.keys() - given.keys():
        del os.environ[name]


def _not_started(error: Exception, given: Mapping[str, str]) -> ArgumentError:
    """Make the error for an accelerator that could not be made, with what a launcher has put into the environment."""
    reason = " ".join(str(error).split())[:200]
    there = [f"{k}={given[k]}" for k in sorted(given) if k in _OF_LAUNCHERS or k.startswith("ACCELERATE_")]
    if not there:
        return ArgumentError(f"accelerate could not be started: {reason}")
    return ArgumentError(
        f"accelerate could not be started: {reason}; the environment has {', '.join(there)}: unset what no launcher of "
        "this training has set, or start it by accelerate launch or torchrun"
    )


def make_optimizer(model: nn.Module, settings: Training) -> Optimizer:
    """Make timm's optimizer by name.

    Args:
        model: The network to train.
        settings: Name, learning rate, weight decay and what it is of, momentum, and betas.

    Returns:
        The optimizer.

    Raises:
        RecipeError: The optimizer is unknown, has no betas or no momentum and is given some, refuses a setting, or
            needs what is not here, such as CUDA.
    """
    from timm.optim import create_optimizer_v2

    more: dict[str, Any] = {} if settings.betas is None else {"betas": settings.betas}
    if settings.momentum == 0 and "sgd" in settings.optimizer:
        more["nesterov"] = False  # torch refuses Nesterov's without a momentum
    try:
        if settings.betas is not None:
            _demand_betas(settings)
        if settings.momentum != Training.model_fields["momentum"].default:
            _demand_momentum(settings)
        _refuse_second_order(settings)
        return create_optimizer_v2(
            model,
            opt=settings.optimizer,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
            filter_bias_and_bn=settings.weight_decay_on == "weights",
            **more,
        )
    except RecipeError:
        raise
    except Exception as error:  # each optimizer refuses settings, and what it needs, in its own way
        from timm.optim import list_optimizers

        known = [str(n) for n in list_optimizers()]
        if settings.optimizer.rpartition("_")[2] in known:
            raise RecipeError(
                f"optimizer={settings.optimizer!r} cannot be made here with momentum={settings.momentum}, "
                f"lr={settings.lr} and weight_decay={settings.weight_decay}: {' '.join(str(error).split())[:200]}"
            ) from None
        raise RecipeError(
            f"optimizer={settings.optimizer!r} is not known ({error}); {nearest(settings.optimizer, known)}"
        ) from None


def _refuse_second_order(settings: Training) -> None:
    """Raise an error for an optimizer that takes derivatives of gradients, which no training here makes."""
    from timm.optim import get_optimizer_info

    if get_optimizer_info(settings.optimizer.rpartition("_")[2]).second_order:
        raise RecipeError(
            f"optimizer={settings.optimizer!r} takes derivatives of gradients, which trainings do not make: set "
            "optimizer=adamw or another one of the first order"
        )


def _demand_momentum(settings: Training) -> None:
    """Raise an error for the momentum of an optimizer without one."""
    from timm.optim import get_optimizer_info

    if not get_optimizer_info(settings.optimizer.rpartition("_")[2]).has_momentum:
        raise RecipeError(
            f"momentum={settings.momentum} and optimizer={settings.optimizer!r}, which takes no momentum: leave "
            "momentum out, or set optimizer=sgd"
        )


def _demand_betas(settings: Training) -> None:
    """Raise an error for betas of an optimizer without betas, or another number of them."""
    from timm.optim import get_optimizer_info

    info = get_optimizer_info(settings.optimizer.rpartition("_")[2])
    number = info.num_betas if info.has_betas else 0
    if len(settings.betas or ()) != number:
        raise RecipeError(
            f"betas={list(settings.betas or ())} and optimizer={settings.optimizer!r}, which takes "
            f"{number or 'no'} betas: {'give ' + str(number) if number else 'set betas=null, or optimizer=adam'}"
        )


def check_settings(settings: Training, *, validated: bool) -> None:
    """Check the settings of a training before anything is computed.

    Args:
        settings: The settings.
        validated: Whether there are validation images.

    Raises:
        RecipeError: The optimizer or schedule is unknown, or keep='best' is set without validation images.
    """
    schedule(make_optimizer(nn.Linear(1, 1), settings), settings)
    if settings.keep == "best" and not validated and settings.epochs:
        raise RecipeError(
            "keep='best' chooses by validation images, and no such images are given; set keep='last'"
        )
