"""The model card of a network's folder: its surgery, how to load it, and the results of an evaluation.

Everything in it comes from the record and the evaluation. What these do not state, such as a licence, is
not in the card. Their texts may come from somebody else, so all of them are escaped by `surgeon.markdown`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from surgeon.disk.files import write_text
from surgeon.disk.folder_kinds import WEIGHTS
from surgeon.edits import Plan
from surgeon.errors import ArtifactError, RecipeError
from surgeon.markdown import code, text
from surgeon.models import own
from surgeon.numerals import percent, with_interval
from surgeon.ownership import add_to_manifest, locked
from surgeon.publishing.lineage import last_name
from surgeon.store.folder import read_config
from surgeon.store.hub import check_name

if TYPE_CHECKING:
    from surgeon.report.reading import Run
    from surgeon.results.statistics import Share
    from surgeon.store.configuration import Configuration

FILE = "README.md"
_MARK = "<!-- written by surgeon, "


def write_card(
    folder: str | Path,
    repository: str,
    evaluation: str | Path | None = None,
    *,
    notes: Sequence[str] = (),
) -> bool:
    """Write a folder's README.md, unless somebody else wrote or changed the one that is there.

    Args:
        folder: a network's folder.
        repository: owner/name, under which the network will be loaded.
        evaluation: a folder of `surgeon evaluate` or `surgeon run` whose results the card shows.
        notes: what else is to be said of the network, a sentence each.

    Returns:
        Whether the card was written.

    Raises:
        ArtifactError: the folder holds no network, or the evaluation cannot be read, was changed, or is of
            other weights.
    """
    path = Path(folder) / FILE
    written = card(folder, repository, evaluation, notes=notes)
    with locked(folder):
        if path.is_file() and not is_ours(path.read_text(encoding="utf-8", errors="replace")):
            return False
        write_text(path, written)
        add_to_manifest(Path(folder), FILE)
    return True


def is_ours(page: str) -> bool:
    """Whether a card is unchanged since `card` wrote it: its last line holds the hash of the lines before.

    Args:
        page: the card's text.
    """
    body, mark, rest = page.rpartition(_MARK)
    line, _, below = rest.partition("\n")
    return bool(mark) and line.split(";")[0] == _hash(body) and not below.strip()


def card(
    folder: str | Path,
    repository: str,
    evaluation: str | Path | None = None,
    *,
    notes: Sequence[str] = (),
) -> str:
    """The text of a model card, with a YAML header.

    Args:
        folder: a network's folder.
        repository: owner/name, under which the network will be loaded.
        evaluation: a folder of `surgeon evaluate` or `surgeon run` whose results the card shows.
        notes: what else is to be said of the network, a sentence each.

    Raises:
        ArtifactError: as for `write_card`.
    """
    from huggingface_hub import ModelCardData

    check_name(repository)
    config = read_config(folder)
    record, folded = (config.surgery.plan, config.surgery.folded) if config.surgery else (None, False)
    run = _read_run(evaluation, Path(folder)) if evaluation else None
    changed = config.changed_by_fold is not None
    stock = record is None or (folded and not changed)
    architecture = config.architecture
    timms = not own.is_own(architecture) and "/" not in architecture
    by_timm, classifies = stock and timms, timms or architecture.startswith("zoo/")
    tags = ["surgeon", *(record.operations if record else ())]
    header = ModelCardData(
        library_name="timm" if by_timm else "surgeon",
        pipeline_tag="image-classification" if classifies and config.num_classes else None,
        tags=list(dict.fromkeys(t.split("#")[0] for t in tags)),
    )
    name = repository.rpartition("/")[2]
    parts = [
        f"---\n{header.to_yaml()}\n---\n",
        f"# {text(name)}\n",
        _what(architecture, config, record, folded),
        _loading(repository, architecture, by_timm, stock, changed),
        *([_surgery(record, folded, notes)] if record else []),
        _evaluation(run),
        *([_versions(record)] if record else []),
    ]
    body = "\n".join(parts)
    return f"{body}\n{_MARK}{_hash(body + chr(10))}; a card that was changed is kept as it is -->\n"


def _read_run(evaluation: str | Path, folder: Path) -> Run:
    """Read the evaluation, which must be of the very weights in the folder."""
    from safetensors.torch import load_file

    from surgeon.evaluation.engine.fingerprints import state_hash
    from surgeon.report.reading import read_run

    run = read_run(evaluation)
    weights = state_hash(load_file(folder / WEIGHTS))
    if run.found.subject.weights != weights:
        raise ArtifactError(
            f"{evaluation} is an evaluation of other weights ({run.found.subject.weights}) "
            f"than {folder} holds ({weights}); "
            f"evaluate what you push: surgeon evaluate {folder}"
        )
    return run


def _hash(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def _what(architecture: str, config: Configuration, record: Plan | None, folded: bool) -> str:
    classes = f", {config.num_classes} classes" if config.num_classes else ""
    if record is None:
        return f"A stock {code(architecture)}{classes}, written by surgeon. No surgery was done on it.\n"
    state = (
        "It was folded into plain layers, equal in evaluation mode, some of which this architecture does not have"
        if config.changed_by_fold
        else "It was folded back into a stock network, equal in evaluation mode: nothing but the weights tells of it"
        if folded
        else "Its layers are in it"
    )
    return f"{code(architecture)}{classes}, rewritten by surgeon with the recipe {code(record.recipe)}. {state}.\n"


def _loading(repository: str, architecture: str, by_timm: bool, stock: bool, changed: bool) -> str:
    lines = ["## Loading\n", "```python"]
    if by_timm:
        lines += [
            "import timm",
            "",
            f'model = timm.create_model("hf-hub:{repository}", pretrained=True)',
            "```",
        ]
        return "\n".join([*lines, "\nsurgeon is not needed for it.\n"])
    allow = f', allow_code=["{own.module_of(architecture)}"]' if own.is_own(architecture) else ""
    lines += ["import surgeon", "", f'model = surgeon.load("hf-hub:{repository}"{allow})', "```"]
    if allow:
        lines.append(
            "\nThe network is built by code that is not in this repository, "
            f"{code(architecture)}; surgeon imports it only "
            "where it is allowed by name."
        )
    if changed:
        lines.append(
            "\nOther libraries make the architecture by its name, another network, and refuse this repository; "
            "a file of `surgeon export` needs neither."
        )
    elif not stock:
        lines.append("\nThe inserted layers are surgeon's, so that other libraries do not load it.")
    return "\n".join(lines) + "\n"


def _surgery(record: Plan, folded: bool, notes: Sequence[str]) -> str:
    counts = Counter(e.operation.split("#")[0] for e in record.edits)
    size = "×".join(map(str, record.input_size)) if record.input_size else "not recorded"
    rows = [
        ("recipe", code(record.recipe)),
        *[("paper", text(p)) for p in _papers(record.recipe)],
        ("edits", ", ".join(f"{n} × {text(op)}" for op, n in counts.items())),
        ("sites passed over", str(len(record.passed_over))),
        ("function at the cut", record.told()),
        ("drift at the cut", _drift(record)),
        ("folds into a stock checkpoint", _stock(record, folded)),
        *_growth(record, folded),
        ("input size", size),
        ("seed", str(record.seed)),
    ]
    lines = ["## Surgery\n", "| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows)]
    stuck = Counter(e.note for e in record.edits if not e.folds)
    if stuck and not folded:
        lines += ["", *(f"- {n} × does not fold: {text(why)}" for why, n in stuck.items())]
    if warnings := [*notes, *(n.text for n in record.notes if n.severity == "warning")]:
        lines += ["", *_notes(warnings)]
    return "\n".join(lines) + "\n"


def _papers(recipe: str) -> list[str]:
    from surgeon.recipe import available, load_recipe

    known = available()
    titles: dict[str, None] = {}
    for name in recipe.split("+"):
        try:
            paper = load_recipe(name).paper if name in known else ""
        except RecipeError:
            paper = ""
        number = re.search(r"arXiv (\S+)", paper)
        if paper and not (number and any(number.group() in p for p in titles)):
            titles[paper] = None
    return list(titles)


def _drift(record: Plan) -> str:
    drift = record.execution.drift if record.execution else None
    if drift is None:
        return "none: the function is kept" if record.effect == "exact" else "not measured"
    images = "calibration images" if drift.source == "calibration" else "images of noise"
    return (
        f"{drift.relative:.2g} of the logits' norm, {percent(drift.agreement)} of classes "
        f"kept, on {drift.images} {images}"
    )


def _stock(record: Plan, folded: bool) -> str:
    if folded and record.leaves_architecture:
        return "no, folded into plain layers of a changed architecture"
    return "folded" if folded else record.stock


def _growth(record: Plan, folded: bool) -> list[tuple[str, str]]:
    if folded and record.leaves_architecture:
        return [("cost in use", "that of the changed layers, which an evaluation counts")]
    if folded:
        return [("cost in use", "none: names and shapes are the stock network's")]
    return list(record.grown.items())


def _evaluation(run: Run | None) -> str:
    title = "## Evaluation\n"
    if run is None:
        return f"{title}\nNot evaluated: no evaluation was given with this card.\n"
    from surgeon.report.overview import card as verdict

    said, subject = verdict(run), run.found.subject
    lines = [title, f"Clean accuracy: {_percent(said.clean)}, on {text(_images(run))}.\n"]
    if said.share is not None:
        lines.append(f"**{_percent(said.share)}**: {text(said.quote)}.\n")
    else:
        lines.append("No number for robust accuracy can be quoted:\n")
        lines += [f"- {text(r)}" for r in said.reasons] + [""]
    lines.append(f"Diagnostics: {text(said.checks)}. Attacked: {text(said.size)}.")
    if subject.folded:
        into = "stock network" if subject.shipped is None else "network of plain layers"
        lines.append(f"The {into} that it folds into was attacked.")
    lines.append(f"Weights that were evaluated: {code(subject.weights)}.")
    if run.found.notes:
        lines += ["", *_notes(run.found.notes)]
    return "\n".join(lines) + "\n"


def _notes(notes: Sequence[str]) -> list[str]:
    """A list of notes, each once, with the last names of paths in place of these."""
    said = dict.fromkeys(" ".join(map(last_name, note.split(" "))) for note in notes)
    return ["Notes:\n", *(f"- {text(note)}" for note in said)]


def _images(run: Run) -> str:
    """The images of an evaluation: their number and split, and the source's name without paths of this machine."""
    data = run.found.data
    split = f"{data['split']} " if data.get("split") else ""
    source = f" of {last_name(data['source'])}" if data.get("source") else ""
    return f"{run.found.summary.clean.n:,} {split}images{source}"


def _percent(share: Share) -> str:
    return with_interval(share)


def _versions(record: Plan) -> str:
    made = record.execution.versions if record.execution else {}
    listed = ", ".join(text(f"{k} {v}") for k, v in made.items()) or "not recorded"
    return f"## Made with\n\n{listed}\n"
