"""One optimizer step: micro-batches, augmentation, attack, adversarial noise, and a check of the loss."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from surgeon.data import pixels
from surgeon.errors import RecipeError, TrainingError
from surgeon.recipe import PAIRED, Training
from surgeon.tensors.auxiliary import auxiliary_norms, has_auxiliary_norms
from surgeon.tensors.rewinding import rewound
from surgeon.tensors.shard import Shard
from surgeon.training.adversary import attacked
from surgeon.training.augment import augment, mix, mixer
from surgeon.training.average import Average
from surgeon.training.batches import Batch
from surgeon.training.kept_statistics import kept_statistics
from surgeon.training.labels import Highest, highest_of
from surgeon.training.nonfinite import check_weights, first_nonfinite
from surgeon.training.objective import Objective, check_logits, outputs_of
from surgeon.training.only_padding import OnlyPadding
from surgeon.training.perturbation import moved, perturbable, without_adversarial_noise, worst_offsets
from surgeon.training.randomness import NoiseStreams, seed_of
from surgeon.training.two_rounds import adversarial_noise, noise_layers
from surgeon.training.validation import Normalization

if TYPE_CHECKING:
    from accelerate import Accelerator
    from timm.data import Mixup
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


@contextlib.contextmanager
def _told_of_one_value(settings: Training) -> Iterator[None]:
    """Say in the words of the settings that a batch norm has nothing to normalise by."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingError(
            "a batch norm got a single value per channel, which it cannot be trained on: with "
            f"batch_size={settings.batch_size} and accumulate={settings.accumulate} a micro-batch has one image; give "
            "a larger batch_size or a smaller accumulate"
        ) from error


_CHECKED = 64
"""Every so many steps the weights are looked at: a loss need not show that one is not finite."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A micro-batch: what the network is fed, labels of the noise layers, the loss's target, and its place.

    shared: This process's part, where layers share it. total: Images of the whole batch.
    """

    fed: Tensor
    labels: Tensor
    target: Tensor
    shared: Shard | None
    total: int


class Step:
    """One optimizer step per call; returns the mean loss over the whole batch, of all processes.

    Args:
        model: The network.
        network: The network as accelerate prepared it.
        optimizer: The optimizer as accelerate prepared it.
        accelerator: The accelerator.
        average: The average of the weights, or None.
        settings: Settings of the training.
        seed: Its seed.
        inputs: Normalises pixels on their way to the model.
        highest: The highest label of the data, with label -1 if unknown.

    Raises:
        RecipeError: The network has adversarial noise layers and auxiliary norms, and there is an adversary; or weights
            would be perturbed that are sharded.
        TrainingError: The loss is not finite, or a batch norm gets a single value per channel.
    """

    def __init__(
        self,
        model: nn.Module,
        network: nn.Module,
        optimizer: Optimizer,
        accelerator: Accelerator,
        average: Average | None,
        settings: Training,
        seed: int,
        inputs: Normalization,
        highest: Highest,
    ) -> None:
        self.model, self.network, self.optimizer, self.accelerator = model, network, optimizer, accelerator
        self.average, self.settings, self.seed, self.inputs = average, settings, seed, inputs
        self.looked = False  # at what the network gives
        self.rank, self.world, self.device = (
            accelerator.process_index,
            accelerator.num_processes,
            accelerator.device,
        )
        self.call = cast(nn.Module, torch.compile(network)) if settings.compile else network
        adversary = settings.adversary
        paired = adversary is not None and adversary.method in PAIRED
        beta = (
            (6.0 if adversary.beta is None else adversary.beta) if adversary is not None and paired else None
        )
        mart = adversary is not None and adversary.method == "mart"
        self.objective = Objective(settings.smoothing, beta, highest, mart)
        self.labels_known = highest.label >= 0
        self.dual = calls_twice(model, settings)
        if self.dual and noise_layers(model):
            raise RecipeError(
                "with an adversary, auxiliary norms (dual-norm) have each step call the network twice, and adversarial "
                "noise layers take one call: train with one of them"
            )
        if settings.awp is not None and str(accelerator.distributed_type).endswith("FSDP"):
            raise RecipeError(
                "awp perturbs whole layers, and FSDP has their weights in parts: train with DDP, or with awp=null"
            )
        self.streams = NoiseStreams(model, self.device)
        self.padding = OnlyPadding(model, self.device, accelerator.mixed_precision)
        self.mixup: Mixup | None = None

    def end(self) -> None:
        """Release the layers' random streams after the last step."""
        self.streams.end()
        self.padding.end()

    def __call__(self, batch: Batch, epoch: int, step: int) -> float:
        """One optimizer step; returns the mean loss over the whole batch."""
        place = (self.seed, epoch, step)
        if not self.labels_known and len(batch.y):
            self.objective = replace(self.objective, highest=highest_of(batch.y, batch.numbers))
        # Seeded at every step, so that a resumed training draws the same as an uninterrupted one; and by
        # rank, so that dropout masks of several processes differ.
        torch.manual_seed(seed_of(*place, "process", self.rank))
        self.streams.begin(*place)
        self.optimizer.zero_grad()
        whole = torch.zeros((), dtype=torch.float64, device=self.device)
        number = min(self.settings.accumulate, len(batch.x))
        parts: Iterable[_Part] = self._parts(batch, number, place)
        perturbed: Any = contextlib.nullcontext()
        if self.settings.awp is not None and epoch >= self.settings.awp.warmup_epochs:
            parts = list(parts)
            perturbed = self._perturbed(parts, self.settings.awp.gamma)
        failed = None
        with perturbed, _told_of_one_value(self.settings):
            for count, part in enumerate(parts, 1):
                # Gradients are exchanged once, with the last micro-batch, not with each.
                last = count == number
                alone = contextlib.nullcontext() if last else self.accelerator.no_sync(self.network)
                with alone:
                    loss = self._backward(part)
                whole += loss
                failed = part.fed if not bool(torch.isfinite(loss)) else failed
        if self.world > 1:
            whole = self.accelerator.reduce(whole, "sum")
        value = float(whole)
        if not math.isfinite(value):
            self._stop(value, epoch, step, failed)
        if self.settings.clip_grad is not None:
            self.accelerator.clip_grad_norm_(self.network.parameters(), self.settings.clip_grad)
        self.optimizer.step()
        self.padding.seen()
        if step % _CHECKED == 0:
            self.check(epoch, step)
        if self.average is not None:
            self.average.step(self.model)
        return value

    def _parts(self, batch: Batch, number: int, place: tuple) -> Iterator[_Part]:
        """The micro-batches, each augmented and attacked when it is asked for."""
        offset = batch.offset
        pieces = zip(batch.x.tensor_split(number), batch.y.tensor_split(number), strict=True)
        for count, (x, y) in enumerate(pieces):
            shard = Shard(offset, batch.total)
            offset += len(x)
            yield self._part(x.to(self.device), y.to(self.device), shard, place, count)

    def _part(self, x: Tensor, y: Tensor, shard: Shard, place: tuple, number: int) -> _Part:
        """What a micro-batch x (n, C, H, W) is trained on."""
        s = self.settings
        # Layers that share statistics need one contiguous piece of the batch: neither a micro-batch nor
        # clean and attacked halves are one.
        halves = self.dual or self.objective.beta is not None
        whole = s.accumulate == 1 and not halves
        shared = shard if self.world > 1 and s.exact and whole else None
        self.streams.share(shared)
        x = augment(pixels(x), s, shard, *place)
        if s.mixup or s.cutmix:
            self.mixup = self.mixup or mixer(s, self._classes())
        if self.mixup is not None:
            self.objective.check(self.mixup.num_classes)  # before labels become shares of classes
            x, y = mix(self.mixup, x, y, *place, number, self.rank)
        target, labels = y, y
        if s.adversary is not None:
            plain = self._plain()
            with auxiliary_norms(plain) if self.dual else contextlib.nullcontext():
                adversarial = attacked(plain, self._says(plain), x, y, s.adversary, shard, *place)
            x = torch.cat([x, adversarial]) if halves else adversarial
            labels = torch.cat([y, y]) if halves else y
            target = y if self.objective.beta is not None else labels
        return _Part(self.inputs(x), labels, target, shared, shard.total)

    def _backward(self, part: _Part) -> Tensor:
        """Forward and backward of a micro-batch; returns its part of the mean loss."""

        def loss_fn(output: Any, _: Tensor) -> Tensor:
            if not self.looked:
                check_logits(output)
                self.looked = True
            return self.objective(output, part.target).sum() / part.total

        self.streams.share(part.shared)
        with (
            self.accelerator.autocast(),
            adversarial_noise(self.call, part.fed, part.labels, loss_fn, shard=part.shared),
        ):
            loss = loss_fn(self._output(self.call, part.fed), part.labels)
            # All processes must run backward: one that skipped it would leave the others waiting. Gradients
            # are averaged over processes; the factor makes that a sum, since each loss is already divided by
            # the size of the whole batch.
            if self.world > 1 or bool(torch.isfinite(loss)):
                self.accelerator.backward(loss * self.world)
        return loss.detach().double()

    @contextlib.contextmanager
    def _perturbed(self, parts: list[_Part], gamma: float) -> Iterator[None]:
        """Move the weights to where the loss of the whole batch is worst, and back at exit (Wu et al. 2020)."""
        weights = perturbable(self.model)
        with moved(weights, worst_offsets(weights, self._gradients(weights, parts), gamma)):
            yield

    def _gradients(self, weights: list[nn.Parameter], parts: list[_Part]) -> list[Tensor | None]:
        """The gradients of the loss by weights, up to a factor, under the draws that the step makes after it."""
        gradients: list[Tensor | None] = [None] * len(weights)
        # DistributedDataParallel prepares for a backward pass that this is not; noise layers off are another graph.
        call = self.call if self.world == 1 and not noise_layers(self.model) else self._plain()
        with (
            rewound(self.model, [p.fed for p in parts]),
            kept_statistics(self.model),
            without_adversarial_noise(self.model),
            torch.enable_grad(),
        ):
            for part in parts:
                self.streams.share(part.shared)
                with self.accelerator.autocast():
                    loss = self.objective(self._output(call, part.fed), part.target).sum()
                new = torch.autograd.grad(loss, weights, allow_unused=True)
                gradients = [
                    n if f is None else f if n is None else f + n for f, n in zip(gradients, new, strict=True)
                ]
        if self.world > 1:
            gradients = [None if f is None else self.accelerator.reduce(f, "sum") for f in gradients]
        return gradients

    def _says(self, plain: nn.Module) -> Callable[[Tensor], Any]:
        """What the network says of pixels, once its outputs are known to be enough for the labels."""

        def says(z: Tensor) -> Any:
            output = plain(self.inputs(z))
            self.objective.check(outputs_of(output)[0].shape[1])
            return output

        return says

    def _plain(self) -> nn.Module:
        """The network, not as it is called by several processes."""
        return self.model if self.world == 1 else self.accelerator.unwrap_model(self.network)

    def _output(self, call: nn.Module, fed: Tensor) -> Any:
        """What the network says; with auxiliary norms, of clean images by the main ones, of attacked by those."""
        if not self.dual:
            return call(fed)
        clean, adversarial = fed.chunk(2)
        one = outputs_of(call(clean))
        with auxiliary_norms(self.model):
            return [torch.cat(both) for both in zip(one, outputs_of(call(adversarial)), strict=True)]

    def _classes(self) -> int:
        from surgeon.models.facts import num_classes_of

        classes = num_classes_of(self.model)
        if classes is None:
            raise TrainingError("mixup needs to know the number of classes, and the model does not tell it")
        return classes

    def check(self, epoch: int, step: int) -> None:
        """Check that all weights are finite after a step."""
        check_weights(self.model, self._place(epoch, step))

    def _place(self, epoch: int, step: int) -> str:
        return f"in epoch {epoch}, step {step}, at learning rate {self.optimizer.param_groups[0]['lr']:g}"

    def _stop(self, value: float, epoch: int, step: int, fed: Tensor | None) -> None:
        if self.world > 1:
            self.model.eval()  # in training mode, layers would wait for processes that do not run this pass
        where = first_nonfinite(self.model, fed) if fed is not None else "it comes from another process"
        raise TrainingError(
            f"the loss is {value} {self._place(epoch, step)}: {where}; "
            "try a smaller learning rate, clip_grad, or warmup_epochs"
        )
