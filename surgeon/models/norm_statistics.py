"""Re-estimate batch-norm statistics on real images, after a cut has changed what the norms receive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from surgeon.errors import DataError, SurgeryError
from surgeon.graph.trees.left_alone import left_alone
from surgeon.images import check_inputs
from surgeon.kept_modes import mode
from surgeon.torch_private import BatchNorm

BATCH = 128


def running_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Copy all batch norms' running statistics.

    Args:
        model: The network.

    Returns:
        Copies by tensor name.
    """
    return {
        f"{name}.{key}": value.clone()
        for name, module in model.named_modules()
        if isinstance(module, BatchNorm)
        for key, value in module._buffers.items()
        if value is not None
    }


def demand_room(tree: nn.Module, before: Mapping[str, Tensor]) -> None:
    """Check that norms can take statistics back.

    A norm without a batch counter, as frozen ones are, does not need one.

    Args:
        tree: The network.
        before: The statistics, as from `running_statistics`.

    Raises:
        SurgeryError: A norm has no running statistics, or of another size; the message names it.
    """
    for owner, leaf, value in _owned(tree, before):
        there = getattr(owner[1], leaf, None)
        if leaf in _COUNTS or (isinstance(there, Tensor) and there.shape == value.shape):
            continue
        now = f"has a {leaf} of {tuple(there.shape)}" if isinstance(there, Tensor) else f"has no {leaf}"
        raise SurgeryError(
            f"{owner[0]}: its running statistics were taken again at the cut and are to come "
            f"back, and the {type(owner[1]).__name__} "
            f"there {now}: put a norm with running statistics of {value.numel()} channels "
            "there, or take statistics away and exchange "
            "norms after surgeon.revert"
        )


@torch.no_grad()
def give_back(tree: nn.Module, before: Mapping[str, Tensor]) -> None:
    """Set norms' statistics, in place.

    Args:
        tree: The network.
        before: The statistics, as from `running_statistics`.
    """
    for owner, leaf, value in _owned(tree, before):
        if isinstance(there := getattr(owner[1], leaf, None), Tensor):
            there.copy_(value)


def _owned(
    tree: nn.Module, before: Mapping[str, Tensor]
) -> Iterator[tuple[tuple[str, nn.Module], str, Tensor]]:
    """Yield, for each statistic, its norm, its name there and its value."""
    every = dict(tree.named_modules(remove_duplicate=False))
    for name, value in before.items():
        owner, _, leaf = name.rpartition(".")
        if owner in every:
            yield (owner, every[owner]), leaf, value


_COUNTS = ("num_batches_tracked",)
Statistics = list[tuple[nn.Module, dict[str, Tensor]]]


def statistics_in(norm: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a batch norm's statistics.

    Args:
        norm: The batch norm.

    Returns:
        The tensors themselves, by name.
    """
    return {k: v for k, v in norm._buffers.items() if v is not None}


def separate_statistics(model: nn.Module) -> Statistics:
    """Give every batch norm new tensors for its statistics, with the same values.

    Args:
        model: The network.

    Returns:
        The old tensors, for `put_back`.
    """
    before: Statistics = []
    for module in model.modules():
        if isinstance(module, BatchNorm):
            given = statistics_in(module)
            before.append((module, given))
            module._buffers.update({k: v.clone() for k, v in given.items()})
    return before


def put_back(statistics: Statistics) -> None:
    """Undo `separate_statistics`, or restore statistics that were overwritten since.

    Args:
        statistics: What it returned.
    """
    for module, given in statistics:
        module._buffers.update(given)


def reestimate_statistics(model: nn.Module, images: Tensor, *, batch_size: int = BATCH) -> int:
    """Replace every batch norm's running mean and variance by those over images.

    Only batch norms are in training mode meanwhile, so that dropout and noise are off. Batches are averaged
    with equal weight, and a last batch of less than half the size is left out.

    Args:
        model: The network.
        images: (N, C, H, W).
        batch_size: Images per batch.

    Returns:
        The number of images used; 0 without batch norms.

    Raises:
        DataError: The images are invalid, or a single image gives no variance.
        SurgeryError: The statistics are not finite.
    """
    norms = [m for m in model.modules() if isinstance(m, BatchNorm) and m.track_running_stats]
    if not norms:
        return 0
    check_inputs(images, images.dim() - 1)
    batches = [b for b in images.split(batch_size) if 2 * len(b) >= min(batch_size, len(images))]
    like = next(p for p in model.parameters() if p.is_floating_point())
    before = [(n.momentum, {k: v.clone() for k, v in statistics_in(n).items()}) for n in norms]
    others = left_alone(model, but=set(norms))
    with others, mode(model, False), torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # torch then takes the plain mean over batches
                norm.training = True
            for batch in batches:
                model(batch.to(like, copy=True))  # code may write into its input
        except ValueError as error:  # torch's, if a norm receives one number per channel
            if len(images) > 1:
                raise
            raise DataError(
                "one calibration image has no spread for batch norms to measure; give more"
            ) from error
        finally:
            for norm, (momentum, _) in zip(norms, before, strict=True):
                norm.momentum = momentum
    for norm, (_, old) in zip(norms, before, strict=True):
        if norm.num_batches_tracked is not None and int(norm.num_batches_tracked) == 0:
            norm._buffers.update(old)  # not called in evaluation mode: an auxiliary head keeps its statistics
        elif norm.running_var is not None and not bool(torch.isfinite(norm.running_var).all()):
            raise SurgeryError(
                "the calibration images give statistics that are not finite: look at the network's weights"
            )
        elif norm.num_batches_tracked is not None:
            # Restore the counter of training batches: with momentum=None torch averages by it.
            norm.num_batches_tracked.copy_(old["num_batches_tracked"])
    return sum(len(b) for b in batches)
