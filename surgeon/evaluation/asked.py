"""The steps of an evaluation that nothing refuses: how it is known again, attacked, and summed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from surgeon.data.shifted import ShiftSet
from surgeon.edits import Plan
from surgeon.evaluation.adaptive.knowing import Knowing
from surgeon.evaluation.attacks.preconditions import check_said
from surgeon.evaluation.beyond.certification import Certificate, certified_curves, certify
from surgeon.evaluation.engine.blocks import evaluate
from surgeon.evaluation.engine.fingerprints import image_hashes, joined, said, weights_hash
from surgeon.evaluation.engine.scoring import spread
from surgeon.evaluation.engine.store import Store
from surgeon.evaluation.engine.subject import normalisation_doubts, timed
from surgeon.evaluation.finished import check_named, read_assessment
from surgeon.evaluation.parts import Parts, Progress
from surgeon.evaluation.suites import attacks_of, size_of
from surgeon.evaluation.unread import unread
from surgeon.evaluation.untouched import check_untouched
from surgeon.methods.annealed import unfinished
from surgeon.models.pixels import Normalized
from surgeon.recipe import Evaluation
from surgeon.results.assessment import Assessment, Diagnosis, Subject
from surgeon.results.counts import DRAWS
from surgeon.results.distances import distance_curves
from surgeon.results.gain import Gain
from surgeon.results.named import Norm
from surgeon.results.notes import notes_on, told_of_norms
from surgeon.results.summary import Summary, averaged, summarize
from surgeon.results.verdict import Outcome


@dataclass(frozen=True)
class Asked:
    """An evaluation whose network, images and settings were checked.

    Attributes:
        network: The network, rewritten or stock.
        subject: The network that is attacked: of pixels, and folded where it folds exactly.
        described: The description of it.
        images: (N, C, H, W) in [0, 1], on the CPU.
        labels: (N,) class indices.
        settings: What to evaluate, with norm and ε.
        sizes: Norm and ε of each part.
        folder: Where the results go.
        victims: Networks by name from which attacks are transferred.
        record: Record of the network's surgery; None for a stock network.
        probabilities: Whether the network ends in a softmax.
        batch_size: Images in one forward pass; None for a block.
        examples: Index of each image in its data set.
        class_names: Names of the classes by output.
        seed: Seed of all random choices.
        tell: Called with (part, done, total).
    """

    network: nn.Module
    subject: Normalized
    described: Subject
    images: Tensor
    labels: Tensor
    settings: Evaluation
    sizes: Sequence[tuple[Norm, float]]
    folder: Path
    victims: Mapping[str, nn.Module]
    record: Plan | None
    probabilities: bool
    batch_size: int | None
    examples: Sequence[int]
    class_names: Sequence[str]
    seed: int
    tell: Progress

    @property
    def draws(self) -> int:
        """How often each image is drawn: a random model's verdict is by majority."""
        return DRAWS if self.described.mode == "random" else 1

    def data(self, more: Mapping[str, Any]) -> dict[str, Any]:
        """Describe the images.

        Args:
            more: What the caller says of them.

        Returns:
            Their hash, their number, their classes' names, and what the caller says.
        """
        return {
            "images": joined([*image_hashes(self.images), *map(str, self.labels.tolist())]),
            "count": len(self.images),
            **({"classes": list(self.class_names)} if self.class_names else {}),
            **more,
        }

    def identity(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Tell this evaluation from others, whose folders it must not take.

        Args:
            data: The description of the images.

        Returns:
            The values by which it is known again, as JSON holds them.
        """
        described, names = self.described, list(self.examples)
        return {
            "evaluation": self.settings.model_dump(mode="json"),
            "weights": described.weights,
            "data": data,
            "seed": self.seed,
            "surgery": joined([self.record.model_dump_json()]) if self.record else None,
            "probabilities": self.probabilities,
            "normalisation": [described.mean, described.std],
            "sources": {n: [weights_hash(m), said(m, self.images)] for n, m in self.victims.items()},
            **({} if names == [*range(len(self.images))] else {"examples": joined(list(map(str, names)))}),
        }

    def read_again(self, store: Store, name: str) -> Assessment:
        """Read a finished evaluation.

        Args:
            store: What its attacks left.
            name: The network's name that was given.

        Returns:
            The assessment.

        Raises:
            ArtifactError: The network predicts something else, a result was changed, or the name is another.
        """
        # Equal weights do not mean an equal forward pass: compare stored predictions before returning them.
        check_said(
            self.subject,
            self.images,
            self.labels,
            store.clean() or [],
            draws=self.draws,
            seed=self.seed,
            where=self.folder,
        )
        result = read_assessment(self.folder)
        check_untouched(self.folder, result)
        check_named(self.folder, result, name)
        return result

    def knowing(self) -> Knowing:
        """The attacker who knows the surgery; the networks that it makes are tried on some images."""
        return Knowing(
            self.network,
            self.subject,
            self.images,
            self.labels,
            self.settings,
            self.folder,
            classes=self.described.classes,
            random=self.described.mode == "random",
            probabilities=self.probabilities,
            batch_size=self.batch_size,
            examples=self.examples,
            seed=self.seed,
            tell=self.tell,
        )

    def attacked(self, store: Store, knowing: Knowing) -> Outcome:
        """Run the attacks, or go on with them.

        Args:
            store: Keeps what each leaves.
            knowing: The attacker who knows the surgery.

        Returns:
            The verdicts.
        """
        return evaluate(
            self.subject,
            self.images,
            self.labels,
            attacks_of(self.settings, self.described, self.victims, self.seed, knowing.source),
            sources={**self.victims, **knowing.sources},
            draws=self.draws,
            seed=self.seed,
            batch_size=self.batch_size,
            store=store,
            examples=self.examples,
            advance=lambda done, total: self.tell("attacks on blocks", done, total),
        )

    def certificates(self) -> list[Certificate]:
        """Certify some of the images by randomised smoothing, at each σ of the settings."""
        chosen = spread(self.settings.certify_samples, len(self.images))
        names = [self.examples[i] for i in chosen.tolist()]
        certificates: list[Certificate] = []
        for sigma in self.settings.certify:
            certificates += certify(
                self.subject,
                self.images[chosen],
                self.labels[chosen],
                sigma=sigma,
                n=self.settings.certify_draws,
                seed=self.seed,
                examples=names,
                folder=self.folder / f"certification-{sigma!r}",
                advance=lambda done, total: self.tell("certificates", done, total),
            )
        return certificates

    def assessment(
        self,
        outcome: Outcome,
        gain: Gain | None,
        certificates: Sequence[Certificate],
        shifts: Sequence[ShiftSet],
        *,
        identity: dict[str, Any],
        made: dict[str, Any],
        keep: bool,
        remarks: Sequence[str],
        notes: Sequence[str],
    ) -> Assessment:
        """Add the other parts to the verdicts, and sum all up.

        Args:
            outcome: The verdicts.
            gain: What the attacker gains who knows the surgery.
            certificates: The certificates.
            shifts: Published shifted sets to predict on.
            identity: As `identity` gives it.
            made: How the network was made.
            keep: Whether adversarial images are kept.
            remarks: Sentences of the caller.
            notes: Sentences on the attacker who knows the surgery.

        Returns:
            The assessment.
        """
        settings, described, record, images = self.settings, self.described, self.record, self.images
        parts = Parts(
            self.folder, self.subject, images, self.labels, settings, self.sizes, self.seed, self.tell
        )
        diagnosis = parts.diagnosis(self.victims, self.batch_size, expectation=averaged(outcome.attacks))
        pictures, skipped = parts.pictures(self.network, outcome, self.class_names)
        classes = min(described.classes, len(self.class_names) or described.classes)
        return Assessment(
            subject=timed(described, self.network, self.subject, images),
            settings=identity,
            data=identity["data"],
            made=made,
            summary=summed_up(outcome, settings, record, diagnosis, random=described.random, classes=classes),
            gain=gain,
            diagnosis=diagnosis,
            flags=parts.flags(),
            curves=parts.curves(),
            corruptions=parts.corruptions(),
            shifts=parts.shifts(shifts, self.class_names),
            noise=parts.noise(outcome, keep),
            certified=certified_curves(certificates),
            smallest=distance_curves(outcome, settings.curve_eps, dict(self.sizes)),
            plan=record,
            pictures=pictures,
            notes=_each_once(
                *remarks,
                *unread(
                    settings,
                    self.victims,
                    cut=bool(record and record.edits),
                    side=min(images.shape[-2:]),
                    count=len(images),
                ),
                *told_of_norms(settings),
                *normalisation_doubts(self.network, self.subject, images),
                *filter(None, [self.subject.passed_over, unfinished(self.network)]),
                *notes_on(described, record.traits if record else None, self.victims, outcome.attacks),
                *((gain.warning,) if gain and gain.warning else ()),
                *notes,
                *skipped,
            ),
        )


def _each_once(*notes: str) -> tuple[str, ...]:
    """Sentences in order, without those that were said already."""
    return tuple(dict.fromkeys(notes))


def summed_up(
    outcome: Outcome,
    settings: Evaluation,
    record: Plan | None,
    diagnosis: Diagnosis | None,
    *,
    random: bool,
    classes: int,
) -> Summary:
    """Summarise an evaluation's verdicts together with its diagnostics.

    Args:
        outcome: The verdicts.
        settings: Settings of the evaluation; suites other than basic need diagnostics for a headline.
        record: Record of the network's surgery, None for a stock network.
        diagnosis: The diagnostics, None if they were not made.
        random: Whether the network is random at inference.
        classes: Number of classes among the images, which sets the accuracy of guessing.

    Returns:
        The summary.
    """
    unsaid = () if settings.suite == "basic" else ("no diagnostics were made",)
    failed = unsaid if diagnosis is None else diagnosis.reasons
    if record is not None and record.edits and not settings.adaptive:
        failed = (*failed, "the attacker who knows the surgery was left out (adaptive=false)")
    operations = tuple(dict.fromkeys(e.operation.split("#")[0] for e in record.edits)) if record else ()
    return summarize(
        outcome,
        record.traits if record else None,
        failed=failed,
        random=random,
        classes=classes,
        eps=size_of(settings, operations)[1],
    )


def wherever(identity: dict[str, Any]) -> dict[str, Any]:
    """Return the values of `Asked.identity` without where the images lie: they are known by their hash.

    Args:
        identity: the values, or those of a folder's settings.
    """
    data = identity.get("data")
    if not isinstance(data, dict):
        return identity
    return {**identity, "data": {k: v for k, v in data.items() if k not in ("source", "root")}}
