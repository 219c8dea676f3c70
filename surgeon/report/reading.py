"""A run as the report sees it: its evaluation, its verdicts image by image, its pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from surgeon.disk.files import read_parquet
from surgeon.disk.folder_kinds import NETWORK, WEIGHTS
from surgeon.disk.hashes import own_hash
from surgeon.errors import ArtifactError, SurgeonError, either
from surgeon.evaluation.suites import asked_for
from surgeon.evaluation.untouched import check_untouched
from surgeon.ownership.parts import EVALUATION, TRAINED
from surgeon.reading import read_as
from surgeon.results.assessment import Assessment, Drawn
from surgeon.results.differences import Difference
from surgeon.results.files import RESULT, VERDICTS
from surgeon.results.statistics import Paired, mcnemar
from surgeon.results.study import Study, below, tabulate, unlike
from surgeon.results.threat import Threat
from surgeon.results.verdict import standing

PICTURES = "pictures"
STUDY, ARMS = "study.json", "table.json"


@dataclass(frozen=True)
class Arm:
    """A run's place in a study: the study's folder, the run's role, and its seed."""

    study: Path
    role: str
    seed: str
    worst: Difference | None = None
    """Over all seeds; None for a run of one seed."""


@dataclass(frozen=True)
class Run:
    """One evaluation on the page: its name, its folder, and its content.

    Examples:
        >>> from surgeon.report import read_run
        >>> run = read_run("runs/kap/evaluation")  # doctest: +SKIP
        >>> run.found.summary.headline  # doctest: +SKIP
        >>> run.picture(run.found.pictures[0])[:22]  # doctest: +SKIP
        'data:image/png;base64,'
    """

    name: str
    folder: Path
    found: Assessment
    standing: dict[str, bool]
    """Image hash → whether it is right without an attack and under every attack of the main threat."""
    arm: Arm | None = None
    """None for a run outside studies."""
    labels: dict[str, frozenset[int]] = field(default_factory=dict)
    """Image hash → its label; several where copies of the image have several."""

    def picture(self, drawn: Drawn) -> str:
        """Return a picture as a data URL.

        Args:
            drawn: The picture.

        Returns:
            The URL; '' if the file is missing.

        Raises:
            ArtifactError: The file is not the picture that was drawn.
        """
        path = self.folder / PICTURES / Path(drawn.file).name
        if not path.is_file():
            return ""
        if drawn.hash and own_hash(path) != drawn.hash:
            raise ArtifactError(
                f"{path} is not the picture that was drawn; put it back, or delete it to leave it out"
            )
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def read_runs(folder: str | Path) -> list[Run]:
    """Read the evaluation in a folder, or those of a study: the first seed of each arm.

    Args:
        folder: The folder of an evaluation, of a run, or of a study.

    Returns:
        The runs; a run inside a study includes its place there.

    Raises:
        ArtifactError: The folder has no finished evaluation or study.
    """
    path = Path(folder)
    if not (path / STUDY).is_file():
        return [_in_study(read_run(path), path.resolve())]
    if not (path / ARMS).is_file():
        raise ArtifactError(f"{folder} holds a study that is not finished: run the same command again")
    table, whole = _checked(path), path.resolve()
    return [
        replace(_own(path, place), name=a.name, arm=Arm(whole, a.role, Path(place).name, a.worst_difference))
        for a, place in zip(table.arms, table.folders, strict=True)
    ]


def _own(study: Path, place: str) -> Run:
    """The run of an arm; ArtifactError where the evaluation in its folder says that it is of another arm or seed."""
    run = read_run(study / place)
    target = str(run.found.made.get("target") or "")
    if target and Path(target).parts[-2:] != Path(place).parts[-2:]:
        raise ArtifactError(
            f"{study / place} holds the evaluation of {target}, not its own: put that back, or move it out of the "
            f"study and give the study's command again; surgeon verify {study} names all that does not fit"
        )
    return run


def _checked(study: Path) -> Study:
    """The table of a finished study; ArtifactError where the evaluations of its arms give another one."""
    table = read_as(study / ARMS, Study)
    places = {a.name: [study / below(a.name, s) / EVALUATION for s in a.seeds] for a in table.arms}
    results: dict[str, list[Assessment]] = {name: [] for name in places}
    for name, folders in places.items():
        for place in folders:
            results[name].append(read_as(place / RESULT, Assessment))
            check_untouched(place, results[name][-1])
    again = tabulate(table.recipe, table.model, table.arms[0].seeds, results, places)
    if other := unlike(table, again):
        raise ArtifactError(
            f"{study / ARMS} says of {'; '.join(other)} what its evaluations do not: one of them was changed after "
            f"the study had ended. Put back what was changed (surgeon verify {study} tells what); the study's own "
            "command makes the table again from its evaluations"
        )
    return table


def _in_study(run: Run, whole: Path) -> Run:
    """A run with its arm, where its folder is ARM/SEED of a finished study."""
    place = whole.parent if whole.name == EVALUATION else whole
    study = place.parent.parent
    if not ((study / STUDY).is_file() and (study / ARMS).is_file()):
        return run
    table = read_as(study / ARMS, Study)
    for arm, folder in zip(table.arms, table.folders, strict=True):
        if Path(folder).parent.name == place.parent.name:
            return replace(run, name=f"{arm.name}, seed {place.name}", arm=Arm(study, arm.role, place.name))
    return run


def read_run(folder: str | Path) -> Run:
    """Read the evaluation in a folder.

    Args:
        folder: The folder of `surgeon evaluate`, or of `surgeon run`, which contains one.

    Returns:
        The run.

    Raises:
        ArtifactError: The folder has no finished evaluation, one that was changed after it had ended, or, as a
            run, the evaluation of another network than its own.

    Examples:
        >>> from surgeon.report import read_run
        >>> read_run("runs/kap").name  # doctest: +SKIP
        'kap'
    """
    path = Path(folder)
    inside = path / EVALUATION
    place = inside if (inside / RESULT).is_file() else path
    if not (place / RESULT).is_file():
        raise ArtifactError(f"{folder} {_why_none(path)}")
    assessment = read_as(place / RESULT, Assessment)
    check_untouched(place, assessment)
    whole = path.resolve()
    _check_own(place, assessment)
    name = whole.parent.name if whole.name == EVALUATION else whole.name
    rows = read_parquet(place / VERDICTS) if (place / VERDICTS).is_file() else []
    right = standing(rows, assessment.summary.main, "image")[1] if rows else {}
    return Run(name, place, assessment, right, labels=_labels(rows))


def _check_own(place: Path, assessment: Assessment) -> None:
    """Raise ArtifactError where a run has the evaluation of another network, which would be shown as its own."""
    run = place.resolve().parent
    file = run / TRAINED / WEIGHTS
    if place.resolve().name != EVALUATION or not file.is_file():
        return
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from surgeon.evaluation.engine.fingerprints import state_hash

    try:
        own = state_hash(load_file(file))
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{file} is damaged: {' '.join(str(error).split())}") from error
    if assessment.subject.weights != own:
        raise ArtifactError(
            f"{place} is the evaluation of other weights ({assessment.subject.weights}) than the run {run} has "
            f"({own}), and would be shown as the run's: move it out of the run's folder"
        )


def _why_none(path: Path) -> str:
    """A clause that says what a folder without a finished evaluation contains instead."""
    if (path / "attacks").is_dir() or (path / EVALUATION / "attacks").is_dir():
        return "holds an evaluation that is not finished: run the same command again"
    if not path.exists():
        return "holds no evaluation: nothing is there"
    how = either("evaluate it first", f"evaluate it first: surgeon evaluate {path} -o FOLDER")
    if (path / NETWORK).is_file():
        return f"holds no evaluation: it is a network's folder; {how}"
    if (path / "trained" / NETWORK).is_file():
        return f"holds no evaluation: it is a run that was trained alone; {how}"
    return f"holds no evaluation: there is no {RESULT} in it"


def _labels(rows: Sequence[Mapping[str, Any]]) -> dict[str, frozenset[int]]:
    labels: dict[str, set[int]] = {}
    for row in rows:
        labels.setdefault(row["image"], set()).add(row["label"])
    return {image: frozenset(of) for image, of in labels.items()}


def apart(one: Run, other: Run) -> str:
    """Say why two runs cannot be compared in the worst case, image by image.

    Args:
        one: The first run.
        other: The second run.

    Returns:
        The reason; '' where they can be compared.
    """
    if _threat(one) != _threat(other):
        return "other attacks"
    shared = _shared(one, other)
    if not shared:
        return "no images in common"
    # Labels are numbers of outputs, and networks may have their classes in another order.
    names = [[str(n) for n in run.found.data.get("classes") or ()] for run in (one, other)]
    if not all(names):
        names = [[], []]
    differing = sum(
        _classes(one.labels.get(i), names[0]) != _classes(other.labels.get(i), names[1]) for i in shared
    )
    return f"other labels of {differing} of the {len(shared)} images in common" if differing else ""


def _classes(labels: frozenset[int] | None, names: Sequence[str]) -> set[object]:
    return {names[c] if 0 <= c < len(names) else c for c in labels or ()}


def compared(one: Run, other: Run) -> Paired | None:
    """Compare two runs in the worst case, on the images that both have.

    Args:
        one: The first run.
        other: The second run.

    Returns:
        McNemar's test; None where `apart` has a reason against it: no images in common, other labels of these,
        or other attacks.
    """
    if apart(one, other):
        return None
    shared = _shared(one, other)
    return mcnemar([one.standing[i] for i in shared], [other.standing[i] for i in shared])


def _shared(one: Run, other: Run) -> list[str]:
    return [image for image in one.standing if image in other.standing]


def _threat(run: Run) -> tuple[object, frozenset[str], bool]:
    """The threat and the attacks of a run's worst case: part, norm and ε, and each attack with all its settings.

    Last, whether the attacker knew all that there was to know: only a cut network has a record to attack by.
    """
    main, plan = run.found.summary.main, run.found.plan
    informed = plan is None or not plan.edits or run.found.gain is not None
    return main[:3] if main else None, _strengths(run.found), informed


def _strengths(assessment: Assessment) -> frozenset[str]:
    """The attacks of a worst case on the network itself, as text: all that decides how strong each is.

    Seeds are left out, since they choose among attacks of one strength. Settings that this version does not know
    are taken as they are written.
    """
    main = assessment.summary.main
    try:
        attacks = asked_for(assessment)
    except (SurgeonError, ValidationError, KeyError, TypeError):
        rows = [r for r in assessment.summary.rows if r.source is None and main and main.seed in r.seeds]
        own = {r.attack for r in rows if main and main.covers(Threat(r.group, r.norm, r.eps, main.seed))}
        return frozenset({*own, repr(assessment.settings.get("evaluation"))})
    return frozenset(
        a.model_dump_json(exclude={"seed"})
        for a in attacks
        if a.source is None and main is not None and main.covers(a.threat)
    )


def unique(runs: list[Run]) -> list[Run]:
    """Give runs distinct names.

    Runs that share a name get the name of the folder above in front, or else a number.

    Args:
        runs: The runs.

    Returns:
        Copies with distinct names, in order.
    """
    names = [r.name for r in runs]
    longer = [_above(r) if names.count(r.name) > 1 else r.name for r in runs]
    return [
        replace(r, name=f"{name} ({k + 1})" if longer.count(name) > 1 else name)
        for k, (r, name) in enumerate(zip(runs, longer, strict=True))
    ]


def _above(run: Run) -> str:
    if run.arm is not None:
        return f"{run.arm.study.name}/{run.name}"
    folder = run.folder.resolve()
    folder = folder.parent if folder.name == EVALUATION else folder
    return f"{folder.parent.name}/{run.name}"
