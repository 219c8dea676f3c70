"""The training loop: accelerate for devices, processes and precision, timm for optimizers and schedules."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surgeon import interrupts
from surgeon.arguments import checked_seed
from surgeon.disk.writing import make_folder
from surgeon.errors import DataError, WritingError
from surgeon.host import in_own_state
from surgeon.methods.adversarial_noise.base import NoiseLayer
from surgeon.ownership import owned
from surgeon.recipe import Training
from surgeon.tensors.memory_format import lay
from surgeon.training import batches as sources
from surgeon.training.anneal import anneal, anneals
from surgeon.training.batches import Batch, Batches, Source
from surgeon.training.checkpoint import Progress, Run, resume, store
from surgeon.training.noise import set_noise
from surgeon.training.progress import reporter
from surgeon.training.records import BEST, LAST, Records, copied
from surgeon.training.schedule import floor, schedule
from surgeon.training.setup import average_of, check_settings, identity_of, make_accelerator, make_optimizer
from surgeon.training.step import Step
from surgeon.training.synced import synced_batch_norms
from surgeon.training.validation import Epoch, Normalization, robust_accuracy, validate

History = list[Epoch]


_MARKS = ("forward", "_original_forward", "_is_accelerate_prepared")
"""What accelerate leaves on a model that it prepared: for one training, or one accelerator of the caller's, alone."""


@in_own_state(training=True)
def fit(
    model: nn.Module,
    train: Source,
    val: Source | None = None,
    settings: Training | None = None,
    *,
    folder: str | Path | None = None,
    seed: int = 0,
    normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    device: str | torch.device | None = None,
    mixed_precision: str = "no",
    workers: int = 0,
    save_every: float = 300.0,
    progress: bool = True,
    label: str = "",
) -> History:
    """Train `model` in place; returns a row for each epoch.

    train, val: images (N, C, H, W) in [0, 1] or as bytes, with labels (N,); or a Dataset of (image, label), read
    by `workers` processes. normalize: mean and std that images are normalised by on their way to the model; attacks
    and noise are in pixels before it. folder: where metrics, TensorBoard's events, the last and the best weights and
    a checkpoint go, the checkpoint after each epoch and every `save_every` seconds; the same call with a folder that
    has a checkpoint goes on from there, in an epoch's middle too, and on a CPU ends with the weights of an
    uninterrupted run. Noise layers are on for `settings.noise_share` of the epochs, then off with the learning rate
    at its minimum; annealed layers reach their end after `settings.anneal_share` of the steps. All random choices are
    functions of (seed, epoch, step); a last batch of a single image, on which batch norm cannot train, joins the one
    before. The best weights are those of the highest validation accuracy, of adversarial training the highest
    accuracy under its own attack.

    Under `accelerate launch` or torchrun each process trains on its part of each batch; with `settings.exact` they
    compute what a single process would (dropout draws its own numbers on each).

    device: where to train, by default where accelerate would. mixed_precision: "no", "bf16" or "fp16".
    progress: a bar on a terminal, else a line an epoch, headed by `label`. Afterwards the model is on the
    device and in the mode that it came in, its noise layers are on, also after an error.

    Raises TrainingError for a loss that is not finite, naming epoch, step, learning rate and layer, and ArgumentError for a device
    that is not there; DataError for no images, images of another kind (0–255 as floats, other channels than the model's, not
    finite; outside [0, 1] where they are normalised or attacked), images without their labels, or labels that are none of the
    model's classes; RecipeError for an unknown optimizer or schedule, and for keep='best' without `val`; ArtifactError
    for a folder that holds another training, or a damaged one; WritingError for a full disk, saying which checkpoint stays.
    """
    settings, seed = settings or Training(), checked_seed(seed)
    for name, data in (("train", train), ("val", val)):
        if data is not None:
            sources.check(name, data, model, pixels=bool(normalize or settings.adversary))
    check_settings(settings, validated=val is not None)
    was, home = model.training, next((p.device for p in model.parameters()), torch.device("cpu"))
    marks = {name: vars(model)[name] for name in _MARKS if name in vars(model)}
    vars(model).pop("_is_accelerate_prepared", None)  # else it stays where it is
    if vars(model).pop("_original_forward", None) is not None:
        del model.forward
    try:
        trainer = _Training(
            model, train, val, settings, Path(folder) if folder is not None else None, seed, normalize, device,
            mixed_precision, workers, save_every, progress, label,
        )  # fmt: skip
        return trainer.run()
    finally:
        for name in _MARKS:
            vars(model).pop(name, None)
        vars(model).update(marks)
        set_noise(model, True)
        lay(model.to(home), torch.contiguous_format)
        model.train(was)


class _Training:
    """One call of `fit`."""

    def __init__(
        self, model: nn.Module, train: Source, val: Source | None, settings: Training, folder: Path | None, seed: int,
        normalize: Any, device: Any, mixed_precision: str, workers: int, save_every: float, shown: bool, label: str,
    ) -> None:  # fmt: skip
        self.model, self.val, self.settings, self.folder, self.seed = model, val, settings, folder, seed
        self.workers, self.save_every, self.shown, self.label = workers, save_every, shown, label
        self.annealed = anneals(model)
        self.accelerator = make_accelerator(device, mixed_precision, settings, self.annealed)
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        self.device = self.accelerator.device
        self.batches = Batches(
            train, settings.batch_size, seed, rank=self.rank, world=self.world, workers=workers
        )
        if self.batches.count == 0:
            raise DataError("train has no images")
        if settings.channels_last:
            lay(model, torch.channels_last)
        torch.manual_seed(seed)
        self.optimizer = make_optimizer(model, settings)
        self.set_rate = schedule(self.optimizer, settings)
        self.average = average_of(model, settings, self.device)
        self.network, self.optimizer = self.accelerator.prepare(model, self.optimizer)
        self.inputs = Normalization(normalize, self.device, settings.channels_last)
        self.step = Step(
            model, self.network, self.optimizer, self.accelerator, self.average, settings, seed, self.inputs,
            sources.highest(train),
        )  # fmt: skip
        self.noisy = any(isinstance(m, NoiseLayer) for m in model.modules())
        identity = identity_of(settings, seed, train, normalize, mixed_precision)
        self.training = Run(model, self.network, self.optimizer, self.accelerator, self.average, identity)
        self.at = Progress()
        self.best: dict[str, Tensor] | None = None
        self.kept: tuple[int, int] | None = None
        self.level = -1.0

    def run(self) -> History:
        """Train to the end; in a folder, as its only owner."""
        with contextlib.ExitStack() as stack:
            if self.folder is not None:
                stack.enter_context(owned(self.folder))
            return self._run()

    def _run(self) -> History:
        s, shared = self.settings, self.world > 1 and self.settings.exact
        records = Records(self.folder, Epoch._fields, self.accelerator.is_main_process)
        report = None
        try:
            if self.folder is not None:
                self.at, self.best = resume(self.folder, self.training)
                self.kept = (self.at.epoch, self.at.step) if self.at.epoch or self.at.step else None
            self.at.rows = [Epoch(*r) for r in self.at.rows]
            done = self.at.epoch * self.batches.steps + self.at.step
            report = reporter(
                s.epochs * self.batches.steps,
                done,
                self.label,
                self.shown and self.accelerator.is_main_process,
            )
            records.begin(self.at.rows)
            with report, synced_batch_norms(self.model, shared), interrupts.deferred():
                for epoch in range(self.at.epoch, s.epochs):
                    self._epoch(epoch, report)
                    records.epoch(self.at.rows)
                    self._keep(records)
                    report.epoch(self.at.rows[-1])
                    if stopped := self._due(0.0)[1]:
                        self._stop(stopped)
        except WritingError as error:
            raise WritingError(f"{error}; {self._left()}") from error
        finally:
            self.step.end()
            records.close()
        self._finish()
        return self.at.rows

    def _epoch(self, epoch: int, report: Any) -> None:
        s, at, steps = self.settings, self.at, self.batches.steps
        quiet = self.noisy and epoch >= s.noise_share * s.epochs
        set_noise(self.model, not quiet)
        self.network.train()
        saved = began = time.perf_counter()
        losses = [r.loss if math.isnan(r.val_loss) else r.val_loss for r in at.rows]
        for step, batch in enumerate(self.batches.epoch(epoch, at.step), at.step):
            self.set_rate(epoch + step / steps, losses)
            if quiet:
                for group in self.optimizer.param_groups:
                    group["lr"] = floor(s)
            self._anneal(epoch * steps + step + 1, s.epochs * steps)
            at.total += self._step(batch, epoch, step) * batch.total
            at.seen += batch.total
            at.step = step + 1
            report.advance()
            now = time.perf_counter()
            due, stopped = self._due(now - saved)
            if (due or stopped) and at.step < steps:
                at.seconds += now - began
                self._store()
                saved = began = time.perf_counter()
                if stopped:
                    self._stop(stopped)
        at.seconds += time.perf_counter() - began
        shown = self.average.module if self.average is not None else self.model
        val_loss, val_accuracy = validate(
            shown, self.val, self.device, self.inputs, self.accelerator, workers=self.workers
        )
        robust = robust_accuracy(shown, self.val, s.adversary, self.inputs, self.accelerator, self.seed)
        rate = at.seen / max(at.seconds, 1e-9)
        lr = self.optimizer.param_groups[0]["lr"]
        at.rows.append(Epoch(epoch, at.total / at.seen, lr, val_loss, val_accuracy, rate, robust))
        at.epoch, at.step, at.total, at.seen, at.seconds = epoch + 1, 0, 0.0, 0, 0.0

    def _due(self, seconds: float) -> tuple[bool, int]:
        """Whether to store a checkpoint now, and the signal that asks any process to stop, or 0: the same in all of them,
        since storing is collective."""
        due, asked = self.folder is not None and seconds >= self.save_every, interrupts.asked() or 0
        if self.world == 1 or self.folder is None:
            return due, asked
        flags = torch.tensor([float(due and self.rank == 0), float(asked)], device=self.device)
        every = self.accelerator.gather(flags).view(-1, 2).amax(0)
        return bool(every[0] > 0), int(every[1])

    def _store(self) -> None:
        if self.folder is not None:
            make_folder(self.folder)
            store(self.folder, self.training, self.at, self.best)
            self.kept = (self.at.epoch, self.at.step)

    def _stop(self, number: int) -> None:
        """End because of a signal, with all that there is in the folder."""
        stopped = interrupts.Stopped(number)
        stopped.at = f"up to epoch {self.at.epoch}, step {self.at.step} of {self.batches.steps}"
        raise stopped

    def _left(self) -> str:
        """What a training that could not write leaves."""
        if self.kept is None:
            return "there is no checkpoint yet: the same call begins again"
        epoch, step = self.kept
        return f"the last complete checkpoint stays (epoch {epoch}, step {step}): with more room, the same call goes on from there"

    def _keep(self, records: Records) -> None:
        """After an epoch: the best weights so far, the last ones, and the checkpoint."""
        row = self.at.rows[-1]
        figure = row.val_accuracy if math.isnan(row.val_robust) else row.val_robust
        kept = self.average.module if self.average is not None else self.model
        better = not math.isnan(figure) and (self.at.best is None or figure > self.at.best[0])
        if better:
            self.at.best = (figure, row.epoch)
        if better and (self.folder is not None or self.settings.keep == "best"):
            self.best = copied(kept)
        if self.folder is None:
            return
        if better and self.best is not None:
            records.weights(BEST, self.best)
        records.weights(LAST, copied(kept))
        self._store()

    def _finish(self) -> None:
        """Leave the weights that the settings ask for in the model."""
        if self.settings.keep == "best" and self.best is not None:
            self.model.load_state_dict(self.best)
        elif self.average is not None and self.at.rows:
            self.model.load_state_dict(self.average.module.state_dict())

    def _anneal(self, step: int, steps: int) -> None:
        """Set annealed layers to their share, in 256ths: masks take time to redraw."""
        if not self.annealed or self.level >= 1:
            return
        share = self.settings.anneal_share * steps
        now = 1.0 if step >= share else math.floor(256 * step / share) / 256
        if now != self.level:
            anneal(self.model, now)
            if self.average is not None:
                anneal(self.average.module, now)
            self.level = now

    def _step(self, batch: Batch, epoch: int, step: int) -> float:
        return self.step(batch, epoch, step)
