"""The training loop: accelerate for devices, processes and precision, timm for optimizers and schedules."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surgeon import interrupts
from surgeon.arguments import checked_count, checked_seed
from surgeon.data import pixels
from surgeon.disk.writing import make_folder
from surgeon.errors import ArtifactError, DataError, WritingError
from surgeon.host import in_own_state
from surgeon.methods.annealed import growing
from surgeon.ownership import owned
from surgeon.recipe import Training
from surgeon.tensors.auxiliary import has_auxiliary_norms
from surgeon.tensors.memory_format import lay
from surgeon.tensors.shard import Shard
from surgeon.training.anneal import anneal
from surgeon.training.augment import augment
from surgeon.training.average import average_of
from surgeon.training.batches import Batch, Batches
from surgeon.training.call import checked_call
from surgeon.training.checkpoint import Progress, Run, remembered, resume, store
from surgeon.training.given_back import given_back
from surgeon.training.identity import demand_one, identity_of
from surgeon.training.labels import highest
from surgeon.training.norm_update import update_norms
from surgeon.training.progress import Bar, Lines, reporter
from surgeon.training.run_files import BEST, LAST, RunFiles, copied
from surgeon.training.schedule import first_averaged, floor, part_of, schedule
from surgeon.training.setup import make_accelerator, make_optimizer
from surgeon.training.source import Source
from surgeon.training.step import Step, calls_twice
from surgeon.training.synced import synced_batch_norms
from surgeon.training.two_rounds import noise_by_name, set_noise
from surgeon.training.validation import Epoch, Normalization, robust_accuracy, validate
from surgeon.training.wanted import Wanted

History = list[Epoch]


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
    """Train `model` in place.

    Noise layers are on for `settings.noise_share` of the epochs, then off with the learning rate at its minimum.
    Annealed layers reach their end after `settings.anneal_share` of the steps. All random choices are functions of
    (seed, epoch, step), as is what a Dataset or a stream draws from the global streams of Python, numpy and torch; a
    stream with a generator of its own seeds it in `set_epoch`. A last batch of one image joins the batch before it.

    With `folder`, metrics, TensorBoard events, the last and the best weights and a checkpoint are written
    there. The same call continues from the checkpoint, also in the middle of an epoch; on a CPU the resumed
    training ends with the weights of an uninterrupted one. The best weights are those of the highest
    validation accuracy; in adversarial training, of the highest accuracy under its own attack.

    Under `accelerate launch` or torchrun each process trains on its part of each batch. With `settings.exact`
    they compute the same as a single process (except dropout, which draws separately on each).

    The whole network is in training mode meanwhile, whatever mode its modules are in. Afterwards, also after an error,
    the model is on its original device and each module in its original mode, with noise layers switched on.

    Args:
        model: The network, rewritten or stock.
        train: Images (N, C, H, W) in [0, 1] or as bytes with labels (N,), as `surgeon.data.Images`; or a
            Dataset of (image, label).
        val: Validation images of the same form; None for no validation.
        settings: Epochs, batch size, optimizer, adversary and so on (`surgeon.recipe.Training`); None for
            defaults.
        folder: Where results and checkpoint go; None to write nothing.
        seed: Seed of all random choices.
        normalize: (mean, std) per channel that images are normalised by on their way to the model; None for
            no normalisation. Attacks and noise apply to pixels before it.
        device: Where to train; by default where accelerate would.
        mixed_precision: "no", "bf16" or "fp16".
        workers: Processes that read a Dataset; 0 reads in this process.
        save_every: Seconds between checkpoints within an epoch; each epoch ends with one in any case.
        progress: Whether to show progress: a bar on a terminal, otherwise a line per epoch.
        label: Text in front of the progress.

    Returns:
        One `Epoch` for each epoch: loss, learning rate, validation figures, speed.

    Raises:
        TrainingError: The loss or a weight is not finite; the message names epoch, step and layer.
        ArgumentError: The device does not exist, or the precision is unknown.
        DataError: There are no images; they do not fit the model, are not finite, or leave [0, 1] where they
            are normalised or attacked; or labels are missing or not among the model's classes.
        RecipeError: The optimizer or schedule is unknown, keep='best' lacks `val`, or a setting does not fit the model.
        ArtifactError: `folder` holds another training, or a damaged checkpoint.
        WritingError: The disk is full; the message says which checkpoint remains.

    Warns:
        ArtifactWarning: `folder` holds a training that began with other weights than the model has.
        CalibrationWarning: Images are normalised in one of the two sets alone.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.data import Images
        >>> from surgeon.recipe import Training
        >>> from surgeon.training import fit
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
        >>> train = Images(torch.rand(32, 3, 8, 8), torch.arange(32) % 3)
        >>> settings = Training(epochs=2, batch_size=16)
        >>> history = fit(model, train, settings=settings, device="cpu", progress=False)
        >>> [row.epoch for row in history]
        [0, 1]
    """
    settings, seed = Training() if settings is None else settings, checked_seed(seed)
    workers = checked_count("workers", workers, least=0)
    wanted = checked_call(model, train, val, settings, normalize)
    with given_back(model):
        trainer = _Training(
            model,
            train,
            val,
            wanted,
            settings,
            Path(folder) if folder is not None else None,
            seed,
            normalize,
            device,
            mixed_precision,
            workers,
            save_every,
            progress,
            label,
        )
        return trainer.run()


class _Training:
    """One call of `fit`."""

    def __init__(
        self,
        model: nn.Module,
        train: Source,
        val: Source | None,
        wanted: Wanted,
        settings: Training,
        folder: Path | None,
        seed: int,
        normalize: tuple[Sequence[float], Sequence[float]] | None,
        device: str | torch.device | None,
        mixed_precision: str,
        workers: int,
        save_every: float,
        shown: bool,
        label: str,
    ) -> None:
        self.model, self.val, self.settings, self.folder, self.seed = model, val, settings, folder, seed
        self.save_every, self.shown, self.label = save_every, shown, label
        self.growing = growing(model)
        twice = calls_twice(model, settings)
        # An annealed weight map stops using its convolution; auxiliary norms are used in the second call alone.
        idle = bool(self.growing) or (has_auxiliary_norms(model) and not twice)
        self.accelerator = make_accelerator(device, mixed_precision, settings, idle=idle, twice=twice)
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        self.device = self.accelerator.device
        self.reading: dict[str, Any] = {"workers": workers, "wanted": wanted}
        shares: Any = {"rank": self.rank, "world": self.world}
        self.batches = Batches(train, settings.batch_size, seed, **shares, **self.reading)
        if self.batches.count == 0:
            raise DataError("train has no images")
        identity = {}
        if folder is not None or self.world > 1:
            identity = identity_of(settings, seed, train, val, model, normalize, mixed_precision)
            demand_one(identity)
        if settings.channels_last:
            lay(model, torch.channels_last)
        torch.manual_seed(seed)
        self.optimizer = make_optimizer(model, settings)
        self.set_rate = schedule(self.optimizer, settings)
        self.average = average_of(model, settings, self.device)
        self.network, self.optimizer = self.accelerator.prepare(model, self.optimizer)
        self.inputs = Normalization(normalize, self.device, settings.channels_last)
        self.step = Step(
            model,
            self.network,
            self.optimizer,
            self.accelerator,
            self.average,
            settings,
            seed,
            self.inputs,
            highest(train),
        )
        self.noisy = bool(noise_by_name(model))
        self.training = Run(model, self.network, self.optimizer, self.accelerator, self.average, identity)
        self.at = Progress()
        self.best: dict[str, Tensor] | None = None
        self.kept: tuple[int, int] | None = None
        self.level = -1.0

    def run(self) -> History:
        """Train to the end; a folder is locked meanwhile, so that no other process writes to it."""
        with contextlib.ExitStack() as stack:
            if self.folder is not None:
                if self.folder.is_file():
                    raise ArtifactError(
                        f"{self.folder} is a file; choose a folder for the training, or a new name"
                    )
                stack.enter_context(owned(self.folder))
                stack.enter_context(remembered(self.folder, self.training))
            return self._run()

    def _run(self) -> History:
        s, shared = self.settings, self.world > 1 and self.settings.exact
        records = RunFiles(self.folder, Epoch._fields, self.accelerator.is_main_process)
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

    def _epoch(self, epoch: int, report: Lines | Bar) -> None:
        s, at, steps = self.settings, self.at, self.batches.steps
        quiet = self.noisy and epoch >= part_of(s.noise_share, s.epochs)
        set_noise(self.model, not quiet)
        self.network.train()
        saved = began = time.perf_counter()
        # The plateau rule reads validation losses; a training without validation images has only those of its steps.
        losses = [r.loss if math.isnan(r.val_loss) else r.val_loss for r in at.rows]
        for step, batch in enumerate(self.batches.epoch(epoch, at.step), at.step):
            self.set_rate(epoch + step / steps, losses)
            # In the quiet phase the rate stays at its minimum, unless averaging has a rate of its own by then.
            if quiet and not (s.swa is not None and s.swa.lr is not None and epoch >= first_averaged(s)):
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
        self.step.check(epoch, at.step - 1)
        if self.average is not None:
            self.average.epoch(self.model, epoch)
        validated = self._kept_network(epoch)
        if s.swa is not None if s.update_norms is None else s.update_norms:
            self._update_norms(epoch, validated)
        val_loss, val_accuracy = validate(
            validated, self.val, self.device, self.inputs, self.accelerator, **self.reading
        )
        robust = robust_accuracy(validated, self.val, s.adversary, self.inputs, self.accelerator, self.seed)
        rate = at.seen / max(at.seconds, 1e-9)
        lr = self.optimizer.param_groups[0]["lr"]
        at.rows.append(Epoch(epoch, at.total / at.seen, lr, val_loss, val_accuracy, rate, robust))
        at.epoch, at.step, at.total, at.seen, at.seconds = epoch + 1, 0, 0.0, 0, 0.0

    def _kept_network(self, epoch: int) -> nn.Module:
        """The network that an epoch leaves: with the averaged weights, where it has some."""
        return self.model if self.average is None or epoch < self.average.first else self.average.module

    def _update_norms(self, epoch: int, network: nn.Module) -> None:
        """Measure batch norms of averaged weights on an epoch's images: augmented, not attacked or mixed."""
        if network is self.model:
            return

        def images() -> Iterator[Tensor]:
            for step, batch in enumerate(self.batches.epoch(epoch, 0)):
                shard = Shard(batch.offset, batch.total)
                yield augment(pixels(batch.x.to(self.device)), self.settings, shard, self.seed, epoch, step)

        with synced_batch_norms(network, self.world > 1 and self.settings.exact):
            update_norms(network, images(), self.inputs)

    def _due(self, seconds: float) -> tuple[bool, int]:
        """Whether to store a checkpoint now, and the signal that asked any process to stop, or 0.

        All processes get the same answer: storing is collective, and would hang if one of them took no part.
        """
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
        """End because of a signal; everything so far is in the folder."""
        stopped = interrupts.Stopped(number)
        stopped.at = f"up to epoch {self.at.epoch}, step {self.at.step} of {self.batches.steps}"
        raise stopped

    def _left(self) -> str:
        """A clause that says what remains of a training that could not write."""
        if self.kept is None:
            return "there is no checkpoint yet: the same call begins again"
        epoch, step = self.kept
        return (
            f"the last complete checkpoint stays (epoch {epoch}, step {step}): with more room, "
            "the same call goes on from there"
        )

    def _keep(self, records: RunFiles) -> None:
        """Write the best weights so far, the last ones, and the checkpoint; after each epoch."""
        row = self.at.rows[-1]
        figure = row.val_accuracy if math.isnan(row.val_robust) else row.val_robust
        kept = self._kept_network(row.epoch)
        # The best is one of the averages, and a network in which the method is whole.
        awaited = self.average is not None and row.epoch < self.average.first
        awaited |= bool(self.growing) and self.level < 1
        better = not (math.isnan(figure) or awaited) and (self.at.best is None or figure > self.at.best[0])
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
        """Set annealed layers to their progress, in steps of 1/256: redrawing masks takes time."""
        if not self.growing or self.level >= 1:
            return
        share = part_of(self.settings.anneal_share, steps)
        now = 1.0 if step >= share else math.floor(256 * step / share) / 256
        if now != self.level:
            anneal(self.model, now, self.growing)
            if self.average is not None:
                anneal(self.average.module, now, self.growing)
            self.level = now

    def _step(self, batch: Batch, epoch: int, step: int) -> float:
        return self.step(batch, epoch, step)
