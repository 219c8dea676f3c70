"""Validation figures, and the normalisation of images on their way to the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from surgeon.data import pixels
from surgeon.recipe import PAIRED, Adversary
from surgeon.tensors.shard import Shard
from surgeon.training.adversary import attacked
from surgeon.training.batches import in_order
from surgeon.training.labels import labels_of
from surgeon.training.objective import outputs_of
from surgeon.training.source import Source
from surgeon.training.wanted import Wanted

if TYPE_CHECKING:
    from accelerate import Accelerator


READ = 256
"""Images in one forward pass of validation."""
ATTACKED = 128
"""Images that validation attacks together."""
ROBUST_IMAGES = 1024
"""How many validation images are attacked after each epoch of adversarial training."""


class Epoch(NamedTuple):
    """One row of a training's metrics.

    loss: Mean over the training images. lr: At the last step. images_per_second: Of training, all processes
    together. val_robust: Accuracy under attack (`robust_accuracy`); NaN in training without one.
    """

    epoch: int
    loss: float
    lr: float
    val_loss: float
    val_accuracy: float
    images_per_second: float
    val_robust: float = math.nan


class Normalization:
    """Normalise images by (x − mean) / std per channel, and convert them to the model's memory format.

    Args:
        given: (mean, std) per channel; None for no normalisation.
        device: Where the images are.
        channels_last: Whether the model is in channels_last.
    """

    def __init__(
        self,
        given: tuple[Sequence[float], Sequence[float]] | None,
        device: torch.device,
        channels_last: bool = False,
    ) -> None:
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.given = None
        if given is not None:
            mean, std = (torch.tensor(v, dtype=torch.float32, device=device).view(1, -1, 1, 1) for v in given)
            self.given = (mean, std)

    def __call__(self, x: Tensor) -> Tensor:
        if self.given is not None:
            x = (x - self.given[0]) / self.given[1]
        return x.contiguous(memory_format=self.format) if x.dim() == 4 else x


@torch.no_grad()
def validate(
    network: nn.Module,
    data: Source | None,
    device: str | torch.device,
    inputs: Callable[[Tensor], Tensor] | None = None,
    accelerator: Accelerator | None = None,
    *,
    workers: int = 0,
    wanted: Wanted | None = None,
) -> tuple[float, float]:
    """Compute mean cross-entropy and accuracy in evaluation mode. Processes share the images.

    Args:
        network: The network; its mode is restored afterwards.
        data: Images, a Dataset or an IterableDataset; None for no validation.
        device: Where the network is.
        inputs: Normalises pixels; None to pass them on unchanged.
        accelerator: Adds up the figures of several processes; None for one process.
        workers: Processes that read a Dataset; 0 reads in this process.
        wanted: What the images of a Dataset or a stream have to be; None for what the network takes.

    Returns:
        (mean cross-entropy, accuracy in [0, 1]); NaN without data.
    """
    if data is None:
        return math.nan, math.nan
    old_mode = network.training
    network.eval()
    world, rank = (accelerator.num_processes, accelerator.process_index) if accelerator else (1, 0)
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    how: Any = {"rank": rank, "world": world, "workers": workers, "wanted": wanted or Wanted(network)}
    for read, (x, y) in enumerate(in_order(data, READ, **how)):
        x, y = pixels(x.to(device)), y.to(device)
        output = outputs_of(network(inputs(x) if inputs else x))[0]
        numbers = (
            None if isinstance(data, IterableDataset) else (rank + world * read) * READ + torch.arange(len(x))
        )
        y = labels_of(y, "val", output.shape[1] if output.dim() == 2 else None, numbers=numbers)
        loss = nn.functional.cross_entropy(output, y, reduction="sum")
        sums += torch.stack([loss.double(), (output.argmax(1) == y).sum().double(), sums.new_tensor(len(x))])
    network.train(old_mode)
    if accelerator is not None and world > 1:
        sums = accelerator.reduce(sums, "sum")
    total, right, number = (float(v) for v in sums)
    return (total / number, right / number) if number else (math.nan, math.nan)


def robust_accuracy(
    network: nn.Module,
    data: Source | None,
    adversary: Adversary | None,
    inputs: Callable[[Tensor], Tensor],
    accelerator: Accelerator,
    seed: int,
) -> float:
    """Compute accuracy on the first ROBUST_IMAGES under the training's own attack.

    It is PGD for TRADES and MART; for N-FGSM, whose images leave the ball, PGD of its `steps` within the ball.

    Args:
        network: The network; its mode is restored afterwards.
        data: Validation images; None for no validation.
        adversary: The attack; None for training without one.
        inputs: Normalises pixels.
        accelerator: Adds up the figures of several processes.
        seed: Seed of the attack.

    Returns:
        The accuracy in [0, 1]; NaN without data or attack.
    """
    if data is None or adversary is None:
        return math.nan
    changed: dict[str, object] = {"clean_share": 0.0}
    if adversary.method in PAIRED:
        changed |= {"method": "pgd", "beta": None}
    elif adversary.method == "n-fgsm":
        changed |= {"method": "pgd", "step_size": None, "noise": None}
    attack = adversary.model_copy(update=changed)
    sums = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
    old_mode = network.training
    network.eval()
    rank, world = accelerator.process_index, accelerator.num_processes
    for read, (x, y) in enumerate(in_order(data, ATTACKED, rank=rank, world=world)):
        number = (
            rank + world * read
        )  # of the batch among all: its random starts do not depend on who attacks it
        if number * ATTACKED >= ROBUST_IMAGES:
            break
        x, y = pixels(x.to(accelerator.device)), y.to(accelerator.device)
        shard = Shard(0, len(x))
        adversarial = attacked(
            network, lambda z: network(inputs(z)), x, y, attack, shard, seed, "validation", number
        )
        with torch.no_grad():
            right = (outputs_of(network(inputs(adversarial)))[0].argmax(1) == y).sum()
        sums += torch.stack([right.double(), sums.new_tensor(len(x))])
    network.train(old_mode)
    if accelerator.num_processes > 1:
        sums = accelerator.reduce(sums, "sum")
    return float(sums[0] / sums[1]) if float(sums[1]) else math.nan
