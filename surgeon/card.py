"""The model card of a network's folder: what was done to it, how to load it, and what an evaluation found.

All of it is read from the record and the evaluation. What they do not say, such as a licence, is not in the card.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from surgeon import own
from surgeon.edits import EFFECT_TEXT, Plan
from surgeon.errors import ArtifactError, RecipeError
from surgeon.numerals import percent, with_interval

if TYPE_CHECKING:
    from surgeon.evaluation.statistics import Share
    from surgeon.report.reading import Run

FILE = "README.md"
_MARK = "<!-- written by surgeon, "


def write_card(folder: str | Path, repository: str, evaluation: str | Path | None = None) -> bool:
    """Write a folder's README.md; False, and nothing is written, where somebody else wrote or changed the one there.

    Raises ArtifactError for a folder that holds no network, and an `evaluation` that is none.
    """
    path = Path(folder) / FILE
    text = card(folder, repository, evaluation)
    if path.is_file() and not is_ours(path.read_text(encoding="utf-8", errors="replace")):
        return False
    path.write_text(text, encoding="utf-8")
    return True


def is_ours(text: str) -> bool:
    """Whether a card is as `card` wrote it: its last line has the hash of the lines before."""
    body, mark, rest = text.rpartition(_MARK)
    return bool(mark) and rest.split(";")[0] == _hash(body)


def card(folder: str | Path, repository: str, evaluation: str | Path | None = None) -> str:
    """The text of a model card, with a YAML header.

    repository: owner/name, under which it will be loaded. evaluation: a folder of `surgeon evaluate` or `surgeon run`.

    Raises ArtifactError as `write_card`.
    """
    from huggingface_hub import ModelCardData

    config, record, folded = _read(Path(folder))
    run = _read_run(evaluation, Path(folder)) if evaluation else None
    stock = record is None or folded
    architecture = str(config["architecture"])
    timms = not own.is_own(architecture) and "/" not in architecture
    by_timm, classifies = stock and timms, timms or architecture.startswith("zoo/")
    tags = ["surgeon", *(record.operations if record else ())]
    header = ModelCardData(
        library_name="timm" if by_timm else "surgeon",
        pipeline_tag="image-classification" if classifies and config.get("num_classes") else None,
        tags=list(dict.fromkeys(t.split("#")[0] for t in tags)),
    )
    name = repository.rpartition("/")[2]
    parts = [
        f"---\n{header.to_yaml()}\n---\n",
        f"# {name}\n",
        _what(architecture, config, record, folded),
        _loading(repository, architecture, by_timm, stock),
        *([_surgery(record, folded)] if record else []),
        _evaluation(run),
        *([_versions(record)] if record else []),
    ]
    body = "\n".join(parts)
    return f"{body}\n{_MARK}{_hash(body + chr(10))}; a card that was changed is kept as it is -->\n"


def _read(folder: Path) -> tuple[dict[str, Any], Plan | None, bool]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        surgery = config.get("surgery") or {}
        record = Plan.model_validate(surgery["plan"]) if surgery else None
        return {**config, "architecture": config["architecture"]}, record, bool(surgery.get("folded"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise ArtifactError(f"{path} is no configuration of a network: {type(error).__name__}") from error


def _read_run(evaluation: str | Path, folder: Path) -> Run:
    """The evaluation, which must be of the very weights in the folder."""
    from safetensors.torch import load_file

    from surgeon.evaluation.fingerprints import state_hash
    from surgeon.report.reading import read_run

    run = read_run(evaluation)
    weights = state_hash(load_file(folder / "model.safetensors"))
    if run.found.subject.weights != weights:
        raise ArtifactError(
            f"{evaluation} is an evaluation of other weights ({run.found.subject.weights}) than {folder} holds ({weights}); "
            f"evaluate what you push: surgeon evaluate {folder}"
        )
    return run


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _what(architecture: str, config: Mapping[str, Any], record: Plan | None, folded: bool) -> str:
    classes = f", {config['num_classes']} classes" if config.get("num_classes") else ""
    if record is None:
        return f"A stock `{architecture}`{classes}, written by surgeon. No surgery was done on it.\n"
    state = (
        "It was folded back into a stock network, equal in evaluation mode: nothing but the weights tells of it"
        if folded
        else "Its layers are in it"
    )
    return f"`{architecture}`{classes}, rewritten by surgeon with the recipe `{record.recipe}`. {state}.\n"


def _loading(repository: str, architecture: str, by_timm: bool, stock: bool) -> str:
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
            f"\nThe network is built by code that is not in this repository, `{architecture}`; surgeon imports it only "
            "where it is allowed by name."
        )
    if not stock:
        lines.append("\nThe inserted layers are surgeon's, so that other libraries do not load it.")
    return "\n".join(lines) + "\n"


def _surgery(record: Plan, folded: bool) -> str:
    counts = Counter(e.operation.split("#")[0] for e in record.edits)
    size = "×".join(map(str, record.input_size)) if record.input_size else "not recorded"
    rows = [
        ("recipe", f"`{record.recipe}`"),
        *[("paper", p) for p in _papers(record.recipe)],
        ("edits", ", ".join(f"{n} × {op}" for op, n in counts.items())),
        ("sites passed over", str(len(record.passed_over))),
        ("function at the cut", EFFECT_TEXT[record.effect]),
        ("drift at the cut", _drift(record)),
        ("folds into a stock checkpoint", "folded" if folded else ("yes" if record.folds else "no")),
        *_growth(record, folded),
        ("input size", size),
        ("seed", str(record.seed)),
    ]
    lines = ["## Surgery\n", "| | |", "|---|---|", *(f"| {k} | {_cell(v)} |" for k, v in rows)]
    stuck = Counter(e.note for e in record.edits if not e.folds)
    if stuck and not folded:
        lines += ["", *(f"- {n} × does not fold: {_cell(why)}" for why, n in stuck.items())]
    return "\n".join(lines) + "\n"


def _papers(recipe: str) -> list[str]:
    from surgeon.recipe import load_recipe, shipped

    known = shipped()
    found: dict[str, None] = {}
    for name in recipe.split("+"):
        try:
            paper = load_recipe(name).paper if name in known else ""
        except RecipeError:
            paper = ""
        number = re.search(r"arXiv (\S+)", paper)
        if paper and not (number and any(number.group() in p for p in found)):
            found[paper] = None
    return list(found)


def _drift(record: Plan) -> str:
    drift = record.execution.drift if record.execution else None
    if drift is None:
        return "none: the function is kept" if record.effect == "exact" else "not measured"
    images = "calibration images" if drift.source == "calibration" else "images of noise"
    return f"{drift.relative:.2g} of the logits' norm, {percent(drift.agreement)} of classes kept, on {drift.images} {images}"


def _growth(record: Plan, folded: bool) -> list[tuple[str, str]]:
    if folded:
        return [("cost in use", "none: names and shapes are the stock network's")]
    names = ("parameters", "flops", "activations") if record.measured else ("parameters",)
    rows = []
    for name in names:
        before, grown = getattr(record.before, name), getattr(record.growth, name)
        if before:
            rows.append((name, f"{before:,} → {before + grown:,} ({(before + grown) / before:.3f}×)"))
    return rows


def _evaluation(run: Run | None) -> str:
    title = "## Evaluation\n"
    if run is None:
        return f"{title}\nNot evaluated: no evaluation was given with this card.\n"
    from surgeon.report.overview import card as verdict

    said, subject = verdict(run), run.found.subject
    lines = [title, f"Clean accuracy: {_percent(said.clean)}, on {_cell(said.images)} images.\n"]
    if said.share is not None:
        lines.append(f"**{_percent(said.share)}**: {said.quote}.\n")
    else:
        lines.append("No number for robust accuracy can be quoted:\n")
        lines += [f"- {_cell(r)}" for r in said.reasons] + [""]
    lines.append(f"Diagnostics: {said.checks}. Attacked: {said.size}.")
    if subject.folded:
        lines.append("The stock network that it folds into was attacked.")
    lines.append(f"Weights that were evaluated: `{subject.weights}`.")
    return "\n".join(lines) + "\n"


def _percent(share: Share) -> str:
    return with_interval(share)


def _versions(record: Plan) -> str:
    made = record.execution.versions if record.execution else {}
    text = ", ".join(f"{k} {v}" for k, v in made.items()) or "not recorded"
    return f"## Made with\n\n{text}\n"


def _cell(text: str) -> str:
    """One line that breaks out of no table and holds no HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
