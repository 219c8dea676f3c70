"""A complete, resumable evaluation: attacks, diagnostics, curves, certificates and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from surgeon.arguments import checked_by_name, checked_count, checked_seed
from surgeon.data.shifted import open_shift, outputs_of
from surgeon.disk.files import absolute, write_json
from surgeon.errors import ArgumentError, RecipeError
from surgeon.evaluation.asked import Asked, wherever
from surgeon.evaluation.attacks.preconditions import (
    check_needs,
    check_reach,
    check_sources,
)
from surgeon.evaluation.diagnostics.probes import black_box
from surgeon.evaluation.engine.admission import checked_class_names, checked_examples, on_cpu
from surgeon.evaluation.engine.external import is_whole, write_external
from surgeon.evaluation.engine.scoring import check_model
from surgeon.evaluation.engine.store import Store, going_on
from surgeon.evaluation.engine.subject import of_pixels, prepare
from surgeon.evaluation.finished import read_assessment, write_assessment
from surgeon.evaluation.parts import ATTACKS, Progress, diagnosed
from surgeon.evaluation.suites import attacks_of, keeps, size_of, sizes_of
from surgeon.host import in_own_state
from surgeon.methods.registry import describe
from surgeon.ownership import claim, owning, take
from surgeon.processes import everyone, first
from surgeon.recipe import Evaluation
from surgeon.results.assessment import Assessment
from surgeon.results.files import RESULT, SETTINGS
from surgeon.results.from_record import SURROGATES, UNCUT
from surgeon.surgery.door import part_cut, surgery_of
from surgeon.warned import heard, warn
from surgeon.wrappers import unwrapped


@in_own_state()
@owning("folder")
@going_on()
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
            configuration. If its surgery folds exactly, the folded network is attacked. Of one in `torch.compile`,
            `DataParallel` or an average of torch's or timm's, the network inside is evaluated.
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
        remarks: Sentences to keep with the results as notes, before what is warned of.

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

    Warns:
        UserWarning: A part of the network, and not the network itself, has had surgery, which no attack then uses.
        SurgeryWarning: Annealed layers have a part of their effect; the result has a note on it.

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
    with heard() as warned:
        asked = _prepared(
            network,
            images,
            labels,
            settings,
            Path(folder),
            sources=sources or {},
            name=name,
            examples=examples,
            class_names=class_names,
            num_classes=num_classes,
            probabilities=probabilities,
            batch_size=batch_size,
            seed=seed,
            tell=progress or (lambda what, done, total: None),
        )
    folder = asked.folder
    identity = asked.identity(asked.data(data or {}))
    # Before the folder is taken: a set that is wrong leaves it free for the right one, and no attack is in vain.
    shifts = [] if (folder / RESULT).is_file() else [open_shift(place) for place in asked.settings.shifts]
    for one in shifts:
        outputs_of(one, asked.class_names, asked.described.classes)
    # The first process takes the folder, the others wait and check it: two of them writing settings.json at
    # once could each find the folder empty.
    if first():
        take(folder, SETTINGS, identity, "an evaluation", compared=wherever)
        if not (folder / RESULT).is_file():
            write_json(folder / SETTINGS, identity)  # where the images lie now
    everyone()
    claim(folder, SETTINGS, identity, "an evaluation", compared=wherever)
    store = Store(folder / ATTACKS, keep=keeps(asked.settings))
    if (folder / RESULT).is_file():
        return asked.read_again(store, name)
    knowing = asked.knowing()
    outcome = asked.attacked(store, knowing)
    gain = knowing.gain(outcome)
    certificates = asked.certificates()
    if first():
        assessment = asked.assessment(
            outcome,
            gain,
            certificates,
            shifts,
            identity=identity,
            made=dict(made or {}),
            keep=store.keep,
            remarks=(*remarks, *warned),
            notes=knowing.notes,
        )
        if store.keep and is_whole(assessment.data, asked.examples, len(asked.images)):
            write_external(folder, folder / ATTACKS, outcome, asked.images)
        write_assessment(folder, assessment, outcome, certificates)
    everyone()
    return read_assessment(folder)


def _prepared(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    settings: Evaluation,
    folder: Path,
    *,
    sources: Mapping[str, nn.Module],
    name: str,
    examples: Iterable[int] | None,
    class_names: Iterable[str],
    num_classes: int | None,
    probabilities: bool,
    batch_size: int | None,
    seed: int,
    tell: Progress,
) -> Asked:
    """Check all that an evaluation is asked for, and make the network ready, before any folder is taken."""
    if not isinstance(settings, Evaluation):
        raise RecipeError(f"settings are a {type(settings).__name__}; give a surgeon.recipe.Evaluation")
    checked_by_name("sources", sources)
    for model in (network, *sources.values()):
        check_model(model)
    network, sources = unwrapped(network), {n: unwrapped(m) for n, m in sources.items()}
    settings, seed = checked_settings(settings), checked_seed(seed)
    batch_size = None if batch_size is None else checked_count("batch_size", batch_size)
    images, labels = on_cpu("images", images), on_cpu("labels", labels)
    names = checked_examples(examples, len(images))
    record = surgery_of(network)
    if record is None and (part := part_cut(network)):
        warn(
            f"{part} in it has had surgery by itself, of which the record of this {type(network).__name__} knows "
            f"nothing: no attack uses it, and the result names no recipe; evaluate {part} for that"
        )
    victims = {n: of_pixels(m) for n, m in sources.items()}
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
    attacks = attacks_of(settings, described, victims, seed)
    by_diagnostics = [a for size in sizes for a in black_box(*size)] if diagnosed(settings) else []
    check_needs([*attacks, *by_diagnostics], images, described.classes)
    return Asked(
        network,
        subject,
        described,
        images,
        labels,
        settings,
        sizes,
        folder,
        victims,
        record,
        probabilities=probabilities,
        batch_size=batch_size,
        examples=names,
        class_names=checked_class_names(class_names, labels, described.classes, num_classes),
        seed=seed,
        tell=tell,
    )


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
