"""`surgeon evaluate`: a network by name or folder, images by source, to a whole evaluation."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from surgeon.arguments import checked_seed
from surgeon.artifact import folder_of, load
from surgeon.data import DIGITS_SIZE, HeldOut, absolute_source, held_out, held_out_of, load_sets
from surgeon.errors import ArtifactError, ModelError, either
from surgeon.evaluation import Assessment, assess
from surgeon.evaluation.suites import samples_of
from surgeon.files import absolute
from surgeon.host import in_own_state
from surgeon.images import image_size
from surgeon.machine import made_by
from surgeon.models import create_model, input_size_of, num_classes_of
from surgeon.pipeline.demands import check_classes, to_evaluate_on
from surgeon.pipeline.training import SETTINGS, TRAINED
from surgeon.processes import first, own_device
from surgeon.progress import progress
from surgeon.reading import as_model, read_mapping
from surgeon.recipe import Data, Evaluation
from surgeon.report import report

PAGE = "report.html"


@in_own_state()
def evaluate_target(
    target: str,
    folder: str | Path,
    settings: Evaluation,
    *,
    data: str | None = None,
    root: str | None = None,
    sources: Sequence[str] = (),
    weights: str | None = None,
    pretrained: bool = False,
    num_classes: int | None = None,
    input_size: tuple[int, ...] | None = None,
    model_args: dict[str, Any] | None = None,
    probabilities: bool = False,
    batch_size: int | None = None,
    seed: int = 0,
    allow_code: Sequence[str] = (),
    device: str | None = None,
) -> Assessment:
    """Evaluate a folder that surgeon wrote, or a model by name, on a source's test images, into `folder`.

    target: a network's folder, a run's folder (its trained network), a repository (hf-hub:owner/name), or a name with weights. sources: likewise, to attack
    in its place (transfer). data: as for `surgeon.data.held_out`; by default what the target's folder was trained or
    converted on. num_classes: of a network by name; for any target it says that more outputs than classes are meant.
    device: by default the best there is.

    allow_code: modules that folders may import, as for `surgeon.load`.

    The folder gets a report.html too, where jinja2 and matplotlib are installed.

    Raises ModelError and ArtifactError for targets that are none, DataError for images that do not fit, or that neither
    the caller nor the target names.
    """
    seed = checked_seed(seed)
    how: dict[str, Any] = {
        "pretrained": pretrained,
        "weights": weights,
        "num_classes": num_classes,
        "model_args": model_args,
        "allow_code": allow_code,
    }
    named = {Path(s).name if Path(s).exists() else s: s for s in sources}
    if len(named) < len(sources):
        raise ModelError(
            f"two sources have one name: {', '.join(sources)}; give folders with names of their own"
        )
    data, root = source = to_evaluate_on(target, data, root)
    place = own_device(device)
    network = network_of(target, input_size=input_size, seed=seed, **how).to(place)
    size = image_size(input_size, network) or input_size_of(network)
    if size is None and data == "digits":
        size = (1, 2 * DIGITS_SIZE, 2 * DIGITS_SIZE)
    if size is None:
        raise ModelError(
            f"{target} does not tell its input size; give {either('input_size', '--input-size')}"
        )
    count = samples_of(settings, num_classes_of(network))
    test = test_images(target, data, root, size, count)
    check_classes(target, num_classes_of(network), source, test.classes, num_classes)
    others = {
        name: network_of(s, input_size=size, seed=seed, pretrained=True, allow_code=allow_code).to(place)
        for name, s in named.items()
    }
    remarks: tuple[str, ...] = () if test.split != "train" else (
        f"{data} has no test images of its own: if the model was trained on it, these accuracies are not those of new images",
    )  # fmt: skip
    if not folder_of(target) and not (weights or pretrained):
        remarks += (
            f"{target} has random weights: neither a checkpoint (--weights) nor --pretrained was given",
        )
    about = {
        "source": absolute_source(data),
        "root": absolute(root),
        "split": test.split,
        "classes": list(test.classes),
    }
    with progress(Path(target).name) as told:
        found = assess(
            network, test.x, test.y, settings, folder, sources=others, name=Path(target).name, data=about,
            examples=test.examples, class_names=test.classes, made={**made_by(), "target": absolute(target)},
            probabilities=probabilities, batch_size=batch_size, seed=seed, progress=told, remarks=remarks,
        )  # fmt: skip
    add_page(folder)
    return found


def test_images(
    target: str, data: str, root: str | None, size: tuple[int, ...], count: int | None
) -> HeldOut:
    """`count` images of a source that `target` is tested on: those of a run's own split, where it is a run on this source."""
    own = _own_test_images(target, data, root, size, count)
    return own or held_out(data, size, count=count, root=root)


def _own_test_images(
    target: str, data: str, root: str | None, size: tuple[int, ...], count: int | None
) -> HeldOut | None:
    """The test images of the split that a run was trained with, if `target` is a run on this source; else None."""
    path = Path(target) / SETTINGS
    if not path.is_file() or not (Path(target) / TRAINED).is_dir():
        return None
    told = read_mapping(path)
    if (told.get("data"), told.get("root")) != (absolute_source(data), absolute(root)):
        return None
    settings = as_model(told.get("data_settings"), Data, str(path))
    seed = told.get("seed") if told.get("split_seed") is None else told["split_seed"]
    if not isinstance(seed, int):
        raise ArtifactError(f"{path} cannot be read: its seed is {seed!r:.80}")
    sets = load_sets(data, settings, input_size=size, root=root, seed=seed)  # type: ignore[arg-type]  # three numbers, from a file that `train` wrote
    return held_out_of(sets, count)


def add_page(folder: str | Path) -> None:
    """The evaluation's page beside it, by the first process, unless it is there or what draws it is not installed."""
    page = Path(folder) / PAGE
    if first() and not page.exists() and all(importlib.util.find_spec(m) for m in ("jinja2", "matplotlib")):
        report([folder], page)


def network_of(
    target: str, *, input_size: tuple[int, ...] | None = None, seed: int = 0, pretrained: bool = False,
    weights: str | None = None, num_classes: int | None = None, model_args: dict[str, Any] | None = None,
    allow_code: Sequence[str] = (),
) -> nn.Module:  # fmt: skip
    """The network that a folder holds (a network's, or a run's), or that a name and its weights give.

    Raises ArtifactError for a folder that is none of surgeon's, ModelError for a name that is unknown.
    """
    path = folder_of(target)
    if path:
        return load(path / TRAINED if (path / TRAINED).is_dir() else path, allow_code=allow_code)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return create_model(
            target, pretrained=pretrained and not weights, weights=weights, num_classes=num_classes, input_size=input_size,
            in_chans=input_size[0] if input_size else None, model_args=model_args,
        )  # fmt: skip
