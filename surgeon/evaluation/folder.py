"""A complete, resumable evaluation: attacks, diagnostics, curves, certificates and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from surgeon.arguments import checked_count, checked_seed
from surgeon.data.shifted import open_shift, outputs_of
from surgeon.disk.files import absolute
from surgeon.edits import Plan
from surgeon.errors import ArgumentError, RecipeError
from surgeon.evaluation.adaptive.knowing import Knowing
from surgeon.evaluation.attacks.preconditions import (
    check_needs,
    check_reach,
    check_said,
    check_sources,
)
from surgeon.evaluation.beyond.certification import Certificate, certified_curves, certify
from surgeon.evaluation.diagnostics.probes import black_box
from surgeon.evaluation.engine.admission import checked_class_names, checked_examples, on_cpu
from surgeon.evaluation.engine.blocks import evaluate
from surgeon.evaluation.engine.external import is_whole, write_external
from surgeon.evaluation.engine.fingerprints import image_hashes, joined, said, weights_hash
from surgeon.evaluation.engine.scoring import check_model, spread
from surgeon.evaluation.engine.store import Store
from surgeon.evaluation.engine.subject import normalisation_doubts, of_pixels, prepare, timed
from surgeon.evaluation.finished import check_named, read_assessment, write_assessment
from surgeon.evaluation.parts import ATTACKS, Parts, Progress, diagnosed
from surgeon.evaluation.suites import attacks_of, keeps, size_of, sizes_of
from surgeon.evaluation.unread import unread
from surgeon.evaluation.untouched import check_untouched
from surgeon.host import in_own_state
from surgeon.methods.registry import describe
from surgeon.ownership import claim, owning, take
from surgeon.processes import everyone, first
from surgeon.recipe import Evaluation
from surgeon.results.assessment import Assessment, Diagnosis
from surgeon.results.counts import DRAWS
from surgeon.results.distances import distance_curves
from surgeon.results.files import RESULT, SETTINGS
from surgeon.results.from_record import SURROGATES, UNCUT
from surgeon.results.notes import notes_on, told_of_norms
from surgeon.results.summary import Summary, summarize
from surgeon.results.verdict import Outcome
from surgeon.surgery.door import surgery_of


@in_own_state()
@owning("folder")
def assess(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    settings: Evaluation,
    folder: str | Path,
    *,
    sources: Mapping[str, nn.Module] | None = None,
    name: str = "",
    data: Mapping[str, Any] | None = None,
    examples: Iterable[int] | None = None,
    class_names: Iterable[str] = (),
    num_classes: int | None = None,
    made: Mapping[str, Any] | None = None,
    probabilities: bool = False,
    batch_size: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    remarks: Sequence[str] = (),
) -> Assessment:
    """Evaluate a network as `settings` describe and write everything to `folder`.

    Each part is written as soon as it is finished. The same call after an interruption continues with the
    first part that is missing; after completion it only reads the result.

    The folder then contains evaluation.json (the returned assessment), verdicts.parquet and .csv,
    certificates.parquet, pictures/, model_info.json (a RobustBench entry), and under attacks/ one file for
    each attack on each block of images.

    Args:
        network: The network, rewritten or stock, on the device to evaluate on. It is normalised by its own
            configuration. If its surgery folds exactly, the folded network is attacked.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) class indices.
        settings: What to evaluate: suite, norm, ε, diagnostics, certificates (`surgeon.recipe.Evaluation`).
        folder: Where the results go. It must be new, empty, or hold the same evaluation.
        sources: Networks by name from which attacks are transferred.
        name: Name of the evaluated network in reports; by default the name of its architecture. A finished
            folder keeps the one that it was made with, and is refused for another.
        data: Description of the images (such as the data set and the split), kept with the results.
        examples: Index of each image in its data set; by default 0 to N − 1.
        class_names: Names of the classes by output, for captions and for the accuracy of guessing.
        num_classes: The number of the network's outputs, where `class_names` are those of the first of them on purpose.
        made: Description of how the network was made, kept with the results.
        probabilities: Whether the network ends in a softmax.
        batch_size: Images in one forward pass; by default one block, 64. Of a random model it decides the draws.
        seed: Seed of all random choices.
        progress: Called with (part, done, total).
        remarks: Sentences to keep with the results as notes.

    Returns:
        The assessment, as `read_assessment` reads it from the folder.

    Raises:
        ArtifactError: `folder` holds something else, a different evaluation, one under another name, or a result that
            was changed.
        RecipeError: `settings` are invalid.
        ArgumentError: A source has a name of the record's own sources, `examples` are not one number for each
            image, or `class_names` leave out the class of a label or are not as many as the network's outputs.
        DataError: Images, labels or the network do not fit, gradients are missing or not finite, or a shifted
            set is not there, damaged, or not for this network.
        VerificationError: The folded network differs, or an adversarial image violates its constraints.

    Examples:
        >>> import tempfile, torch
        >>> from torch import nn
        >>> from surgeon.evaluation import assess
        >>> from surgeon.recipe import Evaluation
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
        >>> images, labels = torch.rand(12, 3, 8, 8), torch.arange(12) % 3
        >>> settings = Evaluation(suite="basic", attacks=["fgsm"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     assessment = assess(network, images, labels, settings, folder)
        >>> assessment.summary.clean.n
        12
    """
    if not isinstance(settings, Evaluation):
        raise RecipeError(f"settings are a {type(settings).__name__}; give a surgeon.recipe.Evaluation")
    for model in (network, *(sources or {}).values()):
        check_model(model)
    settings, seed = checked_settings(settings), checked_seed(seed)
    batch_size = None if batch_size is None else checked_count("batch_size", batch_size)
    folder, images, labels = Path(folder), on_cpu("images", images), on_cpu("labels", labels)
    names = checked_examples(examples, len(images))
    tell = progress or (lambda what, done, total: None)
    record = surgery_of(network)
    traits = record.traits if record else None
    victims = {n: of_pixels(m) for n, m in (sources or {}).items()}
    if taken := [n for n in victims if n.startswith((UNCUT, SURROGATES))]:
        raise ArgumentError(
            f"source {taken[0]!r} has a name that the record's own sources have; give it another"
        )
    subject, described = prepare(
        network, images, labels, settings.mode, name=name, probabilities=probabilities, seed=seed
    )
    check_sources(victims, images, labels, described.classes)
    norm, eps = size_of(settings, described.operations)
    places = tuple(str(absolute(s)) for s in settings.shifts)
    settings = settings.model_copy(update={"shifts": places})
    sizes = sizes_of(settings, described.operations)
    if settings.norm != "union":
        settings = settings.model_copy(update={"norm": norm, "eps": eps})
    for each, size in sizes:
        check_reach(each, size, images)
    random = described.mode == "random"
    attacks = attacks_of(settings, described, victims, seed)
    by_diagnostics = [a for size in sizes for a in black_box(*size)] if diagnosed(settings) else []
    check_needs([*attacks, *by_diagnostics], images, described.classes)
    class_names = checked_class_names(class_names, labels, described.classes, num_classes)
    described_data = {
        "images": joined([*image_hashes(images), *map(str, labels.tolist())]),
        "count": len(images),
        **({"classes": list(class_names)} if class_names else {}),
        **(data or {}),
    }
    identity = {
        "evaluation": settings.model_dump(mode="json"),
        "weights": described.weights,
        "data": described_data,
        "seed": seed,
        "surgery": joined([record.model_dump_json()]) if record else None,
        "probabilities": probabilities,
        "normalisation": [described.mean, described.std],
        "sources": {n: [weights_hash(m), said(m, images)] for n, m in victims.items()},
        **({} if names == [*range(len(images))] else {"examples": joined(list(map(str, names)))}),
    }
    # Before the folder is taken: a set that is wrong leaves it free for the right one, and no attack is in vain.
    shifts = [] if (folder / RESULT).is_file() else [open_shift(place) for place in places]
    for one in shifts:
        outputs_of(one, class_names, described.classes)
    # The first process takes the folder, the others wait and check it: two of them writing settings.json at
    # once could each find the folder empty.
    if first():
        take(folder, SETTINGS, identity, "an evaluation")
    everyone()
    claim(folder, SETTINGS, identity, "an evaluation")
    store = Store(folder / ATTACKS, keep=keeps(settings))
    if (folder / RESULT).is_file():
        # Equal weights do not mean an equal forward pass: compare stored predictions before returning them.
        check_said(
            subject,
            images,
            labels,
            store.clean() or [],
            draws=DRAWS if random else 1,
            seed=seed,
            where=folder,
        )
        result = read_assessment(folder)
        check_untouched(folder, result)
        check_named(folder, result, name)
        return result
    knowing = Knowing(
        network,
        subject,
        images,
        labels,
        settings,
        folder,
        classes=described.classes,
        random=random,
        probabilities=probabilities,
        batch_size=batch_size,
        examples=names,
        seed=seed,
        tell=tell,
    )
    outcome = evaluate(
        subject,
        images,
        labels,
        attacks_of(settings, described, victims, seed, knowing.source),
        sources={**victims, **knowing.sources},
        draws=DRAWS if random else 1,
        seed=seed,
        batch_size=batch_size,
        store=store,
        examples=names,
        advance=lambda done, total: tell("attacks on blocks", done, total),
    )
    gain = knowing.gain(outcome)
    warnings = (gain.warning,) if gain and gain.warning else ()
    certificates = _certificates(subject, images, labels, settings, folder, names, seed, tell)
    if first():
        parts = Parts(folder, subject, images, labels, settings, sizes, seed, tell)
        diagnosis = parts.diagnosis(victims, batch_size, expectation=random)
        pictures, skipped = parts.pictures(network, outcome, class_names)
        classes = min(described.classes, len(class_names) or described.classes)
        assessment = Assessment(
            subject=timed(described, network, subject, images),
            settings=identity,
            data=described_data,
            made=dict(made or {}),
            summary=summed_up(outcome, settings, record, diagnosis, random=described.random, classes=classes),
            gain=gain,
            diagnosis=diagnosis,
            flags=parts.flags(),
            curves=parts.curves(),
            corruptions=parts.corruptions(),
            shifts=parts.shifts(shifts, class_names),
            noise=parts.noise(outcome, store.keep),
            certified=certified_curves(certificates),
            smallest=distance_curves(outcome, settings.curve_eps, dict(sizes)),
            plan=record,
            pictures=pictures,
            notes=(
                *remarks,
                *unread(
                    settings,
                    victims,
                    cut=bool(record and record.edits),
                    side=min(images.shape[-2:]),
                    count=len(images),
                ),
                *told_of_norms(settings),
                *normalisation_doubts(network, subject, images),
                *notes_on(described, traits, victims),
                *warnings,
                *knowing.notes,
                *skipped,
            ),
        )
        if store.keep and is_whole(described_data, names, len(images)):
            write_external(folder, folder / ATTACKS, outcome, images)
        write_assessment(folder, assessment, outcome, certificates)
    everyone()
    return read_assessment(folder)


def checked_settings(settings: Evaluation) -> Evaluation:
    """Validate settings again: pydantic does not validate copies made with changes.

    Args:
        settings: Settings of an evaluation.

    Returns:
        An equal copy that is known to be valid.

    Raises:
        RecipeError: A value is invalid.
    """
    try:
        return Evaluation.model_validate(settings.model_dump())
    except ValidationError as error:
        raise RecipeError(f"evaluation: {describe(error, Evaluation)}") from None


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
        diagnosis: The diagnostics, None if none were made.
        random: Whether the network is random at inference.
        classes: Number of classes among the images, which sets the accuracy of guessing.

    Returns:
        The summary.
    """
    unsaid = () if settings.suite == "basic" else ("no diagnostics were made",)
    failed = unsaid if diagnosis is None else diagnosis.reasons
    if record is not None and record.edits and not settings.adaptive:
        failed = (*failed, "the attacker who knows the surgery was left out (adaptive=false)")
    return summarize(
        outcome, record.traits if record else None, failed=failed, random=random, classes=classes
    )


def _certificates(
    subject: nn.Module,
    images: Tensor,
    labels: Tensor,
    settings: Evaluation,
    folder: Path,
    examples: Sequence[int],
    seed: int,
    tell: Progress,
) -> list[Certificate]:
    chosen = spread(settings.certify_samples, len(images))
    names = [examples[i] for i in chosen.tolist()]
    certificates: list[Certificate] = []
    for sigma in settings.certify:
        certificates += certify(
            subject,
            images[chosen],
            labels[chosen],
            sigma=sigma,
            n=settings.certify_draws,
            seed=seed,
            examples=names,
            folder=folder / f"certification-{sigma!r}",
            advance=lambda done, total: tell("certificates", done, total),
        )
    return certificates
