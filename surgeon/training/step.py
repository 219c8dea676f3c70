"""One optimizer step: micro-batches, augmentation, attack, adversarial noise, and a check of the loss."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from surgeon.data import pixels
from surgeon.errors import RecipeError, TrainingError
from surgeon.methods.dual_norm.switch import auxiliary_norms, has_auxiliary_norms
from surgeon.recipe import Training
from surgeon.tensors.shard import Shard
from surgeon.training.adversary import attacked
from surgeon.training.augment import augment, mix, mixer
from surgeon.training.batches import Batch
from surgeon.training.noise import adversarial_noise, noise_layers
from surgeon.training.nonfinite import first_nonfinite
from surgeon.training.objective import Objective, outputs_of
from surgeon.training.randomness import NoiseStreams, seed_of
from surgeon.training.validation import Normalization

if TYPE_CHECKING:
    from accelerate import Accelerator
    from timm.data import Mixup
    from timm.utils import ModelEmaV3
    from torch.optim import Optimizer


def calls_twice(model: nn.Module, settings: Training) -> bool:
    """Say whether a step calls a network once with clean images, and once with attacked ones by its auxiliary norms.

    Args:
        model: The network.
        settings: Settings of the training.

    Returns:
        Whether it does.
    """
    return settings.adversary is not None and has_auxiliary_norms(model)


class Step:
    """One optimizer step per call; returns the mean loss over the whole batch, of all processes.

    Args:
        model: The network.
        network: The network as accelerate prepared it.
        optimizer: The optimizer as accelerate prepared it.
        accelerator: The accelerator.
        average: The moving average of the weights, or None.
        settings: Settings of the training.
        seed: Its seed.
        inputs: Normalises pixels on their way to the model.
        highest: The highest label of the data, -1 if unknown.

    Raises:
        RecipeError: The network has adversarial noise layers and auxiliary norms, and there is an adversary.
        TrainingError: The loss is not finite.
    """

    def __init__(
        self,
        model: nn.Module,
        network: nn.Module,
        optimizer: Optimizer,
        accelerator: Accelerator,
        average: ModelEmaV3 | None,
        settings: Training,
        seed: int,
        inputs: Normalization,
        highest: int,
    ) -> None:
        self.model, self.network, self.optimizer, self.accelerator = model, network, optimizer, accelerator
        self.average, self.settings, self.seed, self.inputs = average, settings, seed, inputs
        self.rank, self.world, self.device = (
            accelerator.process_index,
            accelerator.num_processes,
            accelerator.device,
        )
        self.call = cast(nn.Module, torch.compile(network)) if settings.compile else network
        adversary = settings.adversary
        beta = adversary.beta if adversary is not None and adversary.method == "trades" else None
        self.objective = Objective(settings.smoothing, beta, highest)
        self.dual = calls_twice(model, settings)
        if self.dual and noise_layers(model):
            raise RecipeError(
                "with an adversary, auxiliary norms (dual-norm) have each step call the network twice, and adversarial "
                "noise layers take one call: train with one of them"
            )
        self.streams = NoiseStreams(model, self.device)
        self.mixup: Mixup | None = None

    def end(self) -> None:
        """Release the layers' random streams after the last step."""
        self.streams.end()

    def __call__(self, batch: Batch, epoch: int, step: int) -> float:
        """One optimizer step; returns the mean loss over the whole batch."""
        place = (self.seed, epoch, step)
        # Seeded at every step, so that a resumed training draws the same as an uninterrupted one; and by
        # rank, so that dropout masks of several processes differ.
        torch.manual_seed(seed_of(*place, "process", self.rank))
        self.streams.begin(*place)
        self.optimizer.zero_grad()
        whole = torch.zeros((), dtype=torch.float64, device=self.device)
        parts = min(self.settings.accumulate, len(batch.x))
        offset, failed = batch.offset, None
        for number, (x, y) in enumerate(
            zip(batch.x.tensor_split(parts), batch.y.tensor_split(parts), strict=True)
        ):
            last = number == parts - 1
            shard = Shard(offset, batch.total)
            offset += len(x)
            # Gradients are exchanged once, with the last micro-batch, not with each.
            alone = contextlib.nullcontext() if last else self.accelerator.no_sync(self.network)
            with alone:
                loss, fed = self._backward(x.to(self.device), y.to(self.device), shard, place, number)
            whole += loss
            failed = fed if not bool(torch.isfinite(loss)) else failed
        if self.world > 1:
            whole = self.accelerator.reduce(whole, "sum")
        value = float(whole)
        if not math.isfinite(value):
            self._stop(value, epoch, step, failed)
        if self.settings.clip_grad is not None:
            self.accelerator.clip_grad_norm_(self.network.parameters(), self.settings.clip_grad)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model)
        return value

    def _backward(
        self, x: Tensor, y: Tensor, shard: Shard, place: tuple, number: int
    ) -> tuple[Tensor, Tensor]:
        """Forward and backward for x (n, C, H, W); returns its part of the mean loss, and the model's input."""
        s = self.settings
        # Layers that share statistics need one contiguous piece of the batch: neither a micro-batch nor
        # clean and attacked halves are one.
        halves = self.dual or self.objective.beta is not None
        whole = s.accumulate == 1 and not halves
        shared = shard if self.world > 1 and s.exact and whole else None
        self.streams.share(shared)
        x = augment(pixels(x), s, shard, *place)
        if s.mixup or s.cutmix:
            self.mixup = self.mixup or mixer(s, self._classes(x))
        if self.mixup is not None:
            x, y = mix(self.mixup, x, y, *place, number, self.rank)
        target, labels = y, y
        if s.adversary is not None:
            plain = self.model if self.world == 1 else self.accelerator.unwrap_model(self.network)
            with auxiliary_norms(plain) if self.dual else contextlib.nullcontext():
                adversarial = attacked(
                    plain, lambda z: plain(self.inputs(z)), x, y, s.adversary, shard, *place
                )
            x = torch.cat([x, adversarial]) if halves else adversarial
            labels = torch.cat([y, y]) if halves else y
            target = y if self.objective.beta is not None else labels
        fed = self.inputs(x)

        def loss_fn(output: Any, _: Tensor) -> Tensor:
            return self.objective(output, target).sum() / shard.total

        with (
            self.accelerator.autocast(),
            adversarial_noise(self.call, fed, labels, loss_fn, shard=shared),
        ):
            loss = loss_fn(self._halves(fed) if self.dual else self.call(fed), labels)
            # All processes must run backward: one that skipped it would leave the others waiting. Gradients
            # are averaged over processes; the factor makes that a sum, since each loss is already divided by
            # the size of the whole batch.
            if self.world > 1 or bool(torch.isfinite(loss)):
                self.accelerator.backward(loss * self.world)
        return loss.detach().double(), fed

    def _halves(self, fed: Tensor) -> list[Tensor]:
        """The outputs of clean images by the main norms, and then of attacked ones by the auxiliary norms."""
        clean, adversarial = fed.chunk(2)
        one = outputs_of(self.call(clean))
        with auxiliary_norms(self.model):
            return [torch.cat(both) for both in zip(one, outputs_of(self.call(adversarial)), strict=True)]

    @torch.no_grad()
    def _classes(self, x: Tensor) -> int:
        from surgeon.models.facts import num_classes_of

        classes = num_classes_of(self.model)
        if classes is None:
            raise TrainingError("mixup needs to know the number of classes, and the model does not tell it")
        return classes

    def _stop(self, value: float, epoch: int, step: int, fed: Tensor | None) -> None:
        lr = self.optimizer.param_groups[0]["lr"]
        if self.world > 1:
            self.model.eval()  # in training mode, layers would wait for processes that do not run this pass
        where = first_nonfinite(self.model, fed) if fed is not None else "it comes from another process"
        raise TrainingError(
            f"the loss is {value} in epoch {epoch}, step {step}, at learning rate {lr:g}: {where}; "
            "try a smaller learning rate, clip_grad, or warmup_epochs"
        )
