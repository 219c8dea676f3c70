"""`surgeon run`: a recipe's surgery, training and evaluation, in order, into one folder that can be resumed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from surgeon.artifact import load, save
from surgeon.data import DIGITS_SIZE, Images, digits, labelled
from surgeon.errors import ArtifactError, DataError
from surgeon.evaluation import Normalized, Summary, evaluate, evaluated, summarize
from surgeon.evaluation.engine import Verdict
from surgeon.files import write_csv, write_json, write_text
from surgeon.models import create_model, input_size_of
from surgeon.recipe import Evaluation, Recipe, Training, dump
from surgeon.surgery import apply
from surgeon.training import fit
from surgeon.verification import demand, verify

SETTINGS, SUMMARY, VERDICTS, RECIPE = "settings.json", "summary.json", "verdicts.csv", "recipe.yaml"
STAGES = ("cut", "trained", "evaluation")


def run(
    recipes: Sequence[Recipe],
    model: str,
    folder: str | Path,
    *,
    data: str = "digits",
    input_size: tuple[int, ...] | None = None,
    num_classes: int | None = None,
    weights: str | None = None,
    pretrained: bool = False,
    model_args: dict[str, Any] | None = None,
    calibration_count: int = 1024,
    seed: int = 0,
) -> Summary:
    """Cut a model, train it, evaluate it; each finished stage stays, and the same call goes on after a kill.

    recipes: their surgery in order; training and evaluation are those of the last recipe that has them, else
    the defaults. data: 'digits', a folder with one sub-folder a class (in train/, val/, test/ where it has
    them), or a parquet file; images are pixels in [0, 1], and the model is trained on them as they are.

    In the folder: settings.json, recipe.yaml, cut/ and trained/ (networks), training/ (checkpoint, metrics),
    verdicts.csv, summary.json. Nothing is written before the data are read and the model is cut, so that a
    mistaken call leaves no folder behind.

    Raises ArtifactError for a folder that holds a run with other settings, or something else; DataError for
    data that cannot be split or have more classes than the model.
    """
    folder = Path(folder)
    training = next((r.training for r in reversed(recipes) if r.training), Training())
    evaluation = next((r.evaluation for r in reversed(recipes) if r.evaluation), Evaluation())
    size = (
        tuple(input_size)
        if input_size
        else ((1, 2 * DIGITS_SIZE, 2 * DIGITS_SIZE) if data == "digits" else None)
    )
    settings = {
        "recipes": [r.model_dump(mode="json") for r in recipes], "model": model, "data": data,
        "input_size": list(size) if size else None, "num_classes": num_classes, "weights": weights,
        "pretrained": pretrained, "model_args": model_args or {}, "seed": seed,
        "calibration_count": calibration_count, "training": training.model_dump(), "evaluation": evaluation.model_dump(mode="json"),
    }  # fmt: skip
    _check(folder, settings)
    sets = _sets(data, size, model, seed)
    seen = int(max(s.y.max() for s in sets.values())) + 1
    classes = num_classes or seen
    if classes < seen:
        raise DataError(f"num_classes={classes}, and {data} has labels up to {seen - 1}")
    size = tuple(sets["train"].x.shape[1:])
    cut, trained = folder / "cut", folder / "trained"
    if not cut.is_dir():
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            stock = create_model(
                model, pretrained=pretrained, num_classes=classes, in_chans=size[0], input_size=size,
                weights=weights, model_args=model_args,
            )  # fmt: skip
        known = bool(weights or pretrained)
        images = sets["train"].x[:calibration_count] if known else None
        rewritten = apply(stock, list(recipes), input_size=size, seed=seed, trained=known, calibration=images)
        demand(verify(stock, rewritten))
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / SETTINGS, settings)
        write_text(folder / RECIPE, "---\n".join(dump(r) for r in recipes))
        save(rewritten, cut)
    if not trained.is_dir():
        network = load(cut)
        fit(
            network,
            sets["train"],
            sets["val"],
            training,
            folder=folder / "training",
            seed=seed,
            label="training",
        )
        save(network.eval(), trained)
    if not (folder / SUMMARY).is_file():
        _evaluate(folder, load(trained), sets["test"], evaluation, seed)
    return Summary.model_validate_json((folder / SUMMARY).read_text(encoding="utf-8"))


def _evaluate(folder: Path, network: nn.Module, test: Images, settings: Evaluation, seed: int) -> None:
    subject = Normalized(evaluated(network, test.x[:16]))
    verdicts = evaluate(subject, test.x, test.y, settings, seed=seed)
    fields = list(Verdict.model_fields)
    write_csv(folder / VERDICTS, fields, ([getattr(v, f) for f in fields] for v in verdicts))
    summary = summarize(verdicts, network.surgery.traits)  # type: ignore[union-attr]
    write_json(folder / SUMMARY, summary.model_dump(mode="json"))


def _check(folder: Path, settings: dict[str, Any]) -> None:
    """Raise ArtifactError unless the folder is free, or holds a run with these settings."""
    path = folder / SETTINGS
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(before, dict):
                raise ValueError("no mapping")
        except ValueError as error:
            raise ArtifactError(f"{path} is damaged ({error}); choose another folder") from None
        other = sorted(
            k for k in {*before, *settings} if before.get(k) != json.loads(json.dumps(settings.get(k)))
        )
        if other:
            raise ArtifactError(
                f"{folder} holds a run with other settings ({', '.join(other)}); choose another folder"
            )
        return
    cut_short = f".{SETTINGS}."  # what a kill leaves of settings on their way into place
    if folder.is_file() or (
        folder.is_dir() and any(not p.name.startswith(cut_short) for p in folder.iterdir())
    ):
        raise ArtifactError(f"{folder} exists already and holds no run; choose another folder")


def _sets(data: str, size: tuple[int, ...] | None, model: str, seed: int) -> dict[str, Images]:
    if size is None:
        size = input_size_of(create_model(model))
        if size is None:
            raise ArtifactError(f"{model} does not tell its input size; pass input_size")
    if data == "digits":
        return {k: Images(v.x.expand(-1, size[0], -1, -1), v.y) for k, v in digits(size[1], seed=0).items()}
    root = Path(data)
    if root.is_dir() and all((root / s).is_dir() for s in ("train", "val", "test")):
        return {s: labelled(data, size, split=s, seed=seed) for s in ("train", "val", "test")}
    whole = labelled(data, size, seed=seed)
    n = len(whole.x)
    a, b = int(0.7 * n), int(0.85 * n)
    if not 0 < a < b < n:
        raise DataError(f"{data} has {n} images, too few for training, validation and test; 4 are the least")
    return {
        "train": Images(whole.x[:a], whole.y[:a]),
        "val": Images(whole.x[a:b], whole.y[a:b]),
        "test": Images(whole.x[b:], whole.y[b:]),
    }
