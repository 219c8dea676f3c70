"""The attacker who knows the surgery: finds the strongest source on a few images, and attacks the uncut network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from surgeon.evaluation.adaptive.record_networks import Known, known_from
from surgeon.evaluation.diagnostics.probes import RANDOM, between_passes
from surgeon.evaluation.engine.blocks import evaluate
from surgeon.evaluation.engine.scoring import device_of, spread
from surgeon.evaluation.engine.store import Store
from surgeon.evaluation.parts import Progress
from surgeon.evaluation.suites import size_of, suite
from surgeon.models.pixels import Normalized
from surgeon.models.quiet import held_still
from surgeon.processes import first
from surgeon.recipe import Evaluation
from surgeon.results.counts import DRAWS, EOT
from surgeon.results.from_record import on_uncut, pilots
from surgeon.results.gain import Gain, Tried, gained, strongest
from surgeon.results.named import STEPS
from surgeon.results.threat import main_threat
from surgeon.results.verdict import Outcome
from surgeon.surgery.door import surgery_of

ADAPTIVE, PILOT, BEFORE = "adaptive", "pilot", "uncut"
"""Folder of an evaluation for what is attacked beside the network itself, and its two parts."""


class Knowing:
    """The attacker of one evaluation who has the record of the network's surgery.

    Args:
        network: The network, rewritten or stock, as it was given.
        subject: The network that is attacked, of [0, 1] pixels.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) class indices.
        settings: Settings of the evaluation, with norm and ε.
        folder: The evaluation's folder.
        classes: Number of its classes.
        random: Whether the network is random at inference.
        probabilities: Whether it ends in a softmax.
        batch_size: Images in one forward pass; None for one block.
        examples: Index of each image in its data set; None for 0 to N − 1.
        seed: Seed of all random choices.
        tell: Called with (part, done, total).
    """

    def __init__(
        self,
        network: nn.Module,
        subject: Normalized,
        images: Tensor,
        labels: Tensor,
        settings: Evaluation,
        folder: Path,
        *,
        classes: int,
        random: bool,
        probabilities: bool,
        batch_size: int | None,
        examples: Sequence[int] | None,
        seed: int,
        tell: Progress,
    ) -> None:
        record = surgery_of(network)
        self.subject, self.images, self.labels, self.settings = subject, images, labels, settings
        self.classes = classes
        self.folder, self.random, self.batch_size, self.seed = folder / ADAPTIVE, random, batch_size, seed
        self.tell = tell
        self.examples = list(range(len(images))) if examples is None else list(examples)
        self.known: Known | None = None
        if record is not None and record.edits and settings.adaptive and len(images):
            self.known = known_from(network, record, subject, images, probabilities=probabilities)
        self.tried = self._tried() if self.known is not None else ()

    @property
    def source(self) -> str | None:
        """Name of the strongest network made from the record; None if no network was."""
        return self.tried[0].source if self.tried else None

    @property
    def sources(self) -> dict[str, nn.Module]:
        """The strongest network by its name; empty if no network was made."""
        return {self.source: self.known.sources[self.source]} if self.known and self.source else {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be attacked, or makes no difference."""
        if self.known is None:
            return ()
        if not self.known.sources:
            same = "nothing of the surgery is left at inference: the network before it computes the same"
            return (*self.known.notes, same) if self.known.uncut is not None else self.known.notes
        return self.known.notes

    def _tried(self) -> tuple[Tried, ...]:
        assert self.known is not None
        sources = self.known.sources
        if not sources:
            return ()
        few = spread(self.settings.adaptive_samples, len(self.images))
        norm, eps = size_of(self.settings)
        steps = self.settings.steps if self.settings.suite == "basic" and self.settings.steps else STEPS
        attacks = pilots(list(sources), norm, eps, steps, self.seed, eot=EOT if self.random else 1)
        outcome = evaluate(
            self.subject,
            self.images[few],
            self.labels[few],
            attacks,
            sources=sources,
            draws=DRAWS if self.random else 1,
            seed=self.seed,
            batch_size=self.batch_size,
            store=Store(self.folder / PILOT),
            advance=lambda done, total: self.tell("what the record knows", done, total),
            examples=[self.examples[i] for i in few.tolist()],
        )
        return strongest(outcome, list(sources))

    def gain(self, outcome: Outcome) -> Gain | None:
        """Attack the network before the surgery, and compare.

        Args:
            outcome: The cut network's verdicts.

        Returns:
            The comparison; None for a network without surgery, and in other processes than the first.
        """
        if self.known is None:
            return None
        main = main_threat(outcome.attacks)
        uncut = None if self.known.uncut is None else self._uncut(self.known.uncut, outcome)
        # The first process alone writes it, and reading all verdicts takes time.
        return gained(outcome, uncut, main, self.tried) if first() else None

    def _uncut(self, model: Normalized, outcome: Outcome) -> Outcome:
        with held_still(model, self.seed):
            random = between_passes(model, self.images[:16].to(device_of(model))) > RANDOM
        # The main threat of the suite paper is that of its part standard, which needs no paper.
        named = "standard" if self.settings.suite == "paper" else self.settings.suite
        settings = self.settings.model_copy(update={"suite": named})
        attacks = suite(settings, classes=self.classes, random=random, seed=self.seed)
        return evaluate(
            model,
            self.images,
            self.labels,
            on_uncut(attacks, main_threat(outcome.attacks)),
            draws=DRAWS if random else 1,
            seed=self.seed,
            batch_size=self.batch_size,
            store=Store(self.folder / BEFORE),
            advance=lambda done, total: self.tell("the uncut network", done, total),
            examples=self.examples,
        )
