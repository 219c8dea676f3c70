"""`surgeon evaluate`: a network by name or folder and images by source, to a complete evaluation."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from surgeon.arguments import checked_seed
from surgeon.data import DIGITS_SIZE, HeldOut, absolute_source, held_out, held_out_of
from surgeon.disk.files import absolute
from surgeon.disk.hashes import own_hash
from surgeon.errors import DataError, ModelError, either
from surgeon.evaluation import Assessment, assess, read_assessment
from surgeon.evaluation.suites import samples_of
from surgeon.host import in_own_state
from surgeon.images import image_size
from surgeon.machine import made_by
from surgeon.models.creating import create_model
from surgeon.models.facts import input_size_of, num_classes_of
from surgeon.models.normalisation import as_said
from surgeon.models.robustbench import is_robustbench
from surgeon.ownership import check_apart
from surgeon.pipeline import shown_images
from surgeon.pipeline.benchmark_list import of_the_list
from surgeon.pipeline.demands import check_classes, check_names, demand_free, to_evaluate_on
from surgeon.pipeline.lineage import lineage_of
from surgeon.pipeline.origin import class_order
from surgeon.pipeline.own_images import own_sets, seen_in_its_folder, unknown
from surgeon.pipeline.prepared import remarks_on_preparation, remarks_on_source
from surgeon.pipeline.tested import on_sets, without_images
from surgeon.pipeline.training import TRAINED
from surgeon.processes import first, own_device
from surgeon.progress import progress
from surgeon.recipe import Evaluation
from surgeon.report import report
from surgeon.report.origin import is_unchanged_page, made_of
from surgeon.results.files import RESULT
from surgeon.store.artifact import folder_of, load
from surgeon.store.precision import in_float32

PAGE = "report.html"


class Tested(NamedTuple):
    """Images that a network is tested on, and sentences on what is unknown about them.

    compared: Whether they were compared with those of its training, pixel by pixel.
    """

    images: HeldOut
    remarks: tuple[str, ...]
    compared: bool = False


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
    weights_entry: str | None = None,
    pretrained: bool = False,
    num_classes: int | None = None,
    input_size: tuple[int, ...] | None = None,
    model_args: dict[str, Any] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    probabilities: bool = False,
    batch_size: int | None = None,
    seed: int = 0,
    allow_code: Sequence[str] = (),
    device: str | None = None,
) -> Assessment:
    """Evaluate a network on a source's test images, into a folder.

    The folder also gets a report.html, where jinja2 and matplotlib are installed.

    Args:
        target: a network's folder, a run's folder (its trained network), a repository (`hf-hub:owner/name`),
            or a model's name with weights.
        folder: the folder to write or to continue.
        settings: how to evaluate.
        data: a source as for `surgeon.data.held_out`; by default what the target was trained or converted on.
        root: the folder that the source needs, if it needs one.
        sources: networks, named like targets, to attack in the target's place (transfer).
        weights: a checkpoint file, for a target by name.
        weights_entry: which set of weights of the file, as for `surgeon.create_model`.
        pretrained: use the library's pretrained weights, for a target by name.
        num_classes: number of outputs of a target by name. For any target it permits more outputs than
            classes.
        input_size: (C, H, W) of one image; by default the network's own.
        model_args: further arguments of the builder, for a target by name.
        mean: what the target's images were normalised by in training, one number per channel, in units of [0, 1]
            pixels; by default as its configuration says. Given together with std. Sources keep their own.
        std: one number per channel.
        probabilities: the network ends in a softmax.
        batch_size: images that go through the network at once; by default the size of a block of results.
        seed: seed of attacks, and of a target's random weights.
        allow_code: modules that folders may import, as for `surgeon.load`.
        device: by default the best there is.

    Returns:
        The results.

    Raises:
        ModelError: the target's name or its input size is unknown, or its folder or its pretrained weights are known
            to be normalised otherwise.
        ArtifactError: a folder was not written by surgeon, or the output folder is in use.
        DataError: the images do not fit the network, or neither the caller nor the target names any.

    Examples:
        >>> from surgeon.pipeline import evaluate_target
        >>> from surgeon.recipe import Evaluation
        >>> result = evaluate_target("runs/kap", "results", Evaluation(suite="quick"))  # doctest: +SKIP
        >>> result.summary.worst.value  # doctest: +SKIP
        0.41
    """
    seed = checked_seed(seed)
    how: dict[str, Any] = {
        "pretrained": pretrained,
        "weights": weights,
        "weights_entry": weights_entry,
        "num_classes": num_classes,
        "model_args": model_args,
        "mean": mean,
        "std": std,
        "allow_code": allow_code,
    }
    named = {Path(s).name if Path(s).exists() else s: s for s in sources}
    if len(named) < len(sources):
        raise ModelError(
            f"two sources have one name: {', '.join(sources)}; give folders with names of their own"
        )
    fixed = {"weights": weights, "weights_entry": weights_entry, "model_args": model_args}
    demand_free(target, {**fixed, "pretrained": pretrained and not sources})
    data, root = source = to_evaluate_on(target, data, root)
    check_apart(folder, [data])
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
    lineage = lineage_of(target, weights)
    test, unseen, compared = test_images(target, data, root, size, count, weights=weights)
    inside = folder_of(target) is not None
    outputs = num_classes_of(network)
    said = either(f"num_classes={outputs}", f"--num-classes {outputs}")
    hint = f"say so by {said}" if inside or not lineage else f"evaluate {lineage[0].place}, with {said}"
    taken = check_names(
        target, source, test.classes, lineage, meant=inside and num_classes is not None, how=hint
    )
    check_classes(target, outputs, source, test.classes, num_classes, lineage)
    if not inside or num_classes is None:
        _check_sources(named, test.classes)
    others = {
        name: network_of(s, input_size=size, seed=seed, pretrained=True, allow_code=allow_code).to(place)
        for name, s in named.items()
    }
    remarks = _on_images(data, test.split, unseen, compared)
    remarks += (taken,) if taken else ()
    if inside or weights or pretrained or is_robustbench(target):
        remarks += remarks_on_preparation(
            target, network, size, data=data, lineage=lineage, weights=weights, normalised=mean is not None
        )
    else:
        remarks += (
            f"{target} has random weights: neither a checkpoint (--weights) nor --pretrained was given",
        )
    remarks += tuple(
        f"source {name}: {said}"
        for name, place in named.items()
        for said in remarks_on_source(place, others[name], size)
    )
    about = {
        "source": absolute_source(data),
        "root": absolute(root),
        "split": test.split,
        "classes": list(test.classes),
        **({"robustbench": True} if of_the_list(data, root, test) else {}),
    }
    shown_images.of_testing(Path(target).name, data, test.split, len(test.y))
    with progress(Path(target).name) as show:
        assessment = assess(
            network,
            test.x,
            test.y,
            settings,
            folder,
            sources=others,
            name=kept_name(folder, Path(target).name),
            data=about,
            examples=test.examples,
            class_names=test.classes,
            num_classes=outputs if len(test.classes) < (outputs or 0) else num_classes,
            made={
                **made_by(),
                "target": absolute(target),
                "weights": absolute(weights),
                **({} if weights_entry is None else {"weights_entry": weights_entry}),
                "sources": {n: absolute(s) for n, s in named.items()},
            },
            probabilities=probabilities,
            batch_size=batch_size,
            seed=seed,
            progress=show,
            remarks=remarks,
        )
    add_page(folder)
    return assessment


def test_images(
    target: str,
    data: str,
    root: str | None,
    size: tuple[int, ...],
    count: int | None,
    *,
    weights: str | None,
) -> Tested:
    """The images of a source that a target is tested on, labelled in the order of its outputs.

    Images that the record says the network was trained on keep their split, so that only its test images are
    taken.

    Args:
        target: the network's folder or name.
        data: the source.
        root: the folder that the source needs, or None.
        size: (C, H, W) of one image.
        count: number of images; None for all.
        weights: the file of weights, whose folder may hold the record; or None.

    Raises:
        ArtifactError: the source's contents have changed since the training.
    """
    lineage = lineage_of(target, weights)
    own, compared = own_sets(lineage, data, root, size), None
    test = held_out_of(own[1], count) if own else held_out(data, size, count=count, root=root)
    if own:
        remarks = (*unknown(lineage, own[0], target, data), *on_sets(own[1], test.x, test.y))
    else:
        compared = seen_in_its_folder(lineage, data, size, test.x)
        remarks = (
            *unknown(lineage, compared.origin if compared else None, target, data),
            *(compared.remarks if compared else ()),
            *without_images(test.y, test.classes),
        )
    known = lineage[0].classes if lineage else ()
    order = class_order(known, test.classes)
    fits = bool(own or compared)
    if order is None or test.classes == known:
        return Tested(test, remarks, fits)
    labels: Tensor = torch.tensor(order, dtype=torch.int64)[test.y]
    return Tested(test._replace(y=labels, classes=known), remarks, fits)


def _on_images(data: str, split: str, unseen: tuple[str, ...], compared: bool) -> tuple[str, ...]:
    """Remarks on the test images; with one more where they may be training images."""
    if split != "train" or compared:
        return unseen
    return (
        *unseen,
        f"{data} has no test images of its own: if the model was trained on it, these accuracies are not those of "
        "new images",
    )


def _check_sources(named: dict[str, str], classes: tuple[str, ...]) -> None:
    """Raise DataError for networks to attack in the target's place whose outputs mean other classes."""
    for source in named.values():
        lineage = lineage_of(source)
        known = lineage[0].classes if lineage else ()
        if known and classes and known != classes:
            raise DataError(
                f"the source {source} says {', '.join(known[:8])} by its outputs, and the images are labelled "
                f"{', '.join(classes[:8])}: attacks on it would be on other classes; leave it out"
            )


def kept_name(folder: str | Path, name: str) -> str:
    """The name under which a network is evaluated: that of the finished evaluation, where there is one.

    If the folder was moved or copied since, standard error says that its present name is not used.

    Args:
        folder: the evaluation's folder.
        name: what the network would be called now.
    """
    if not (Path(folder) / RESULT).is_file():
        return name
    kept = read_assessment(folder).subject.name
    if kept != name and first():
        print(f"{name}: {folder} is finished, and calls the network {kept!r}", file=sys.stderr, flush=True)
    return kept


def add_page(folder: str | Path) -> None:
    """Write the evaluation's page, in the first process, unless it is there or its packages are not installed.

    A page of another evaluation, such as one that lay here before, is written anew; one of several evaluations, or
    that a person changed, is kept, and standard error says what it is.

    Args:
        folder: the evaluation's folder.
    """
    page, drawn = Path(folder) / PAGE, all(importlib.util.find_spec(m) for m in ("jinja2", "matplotlib"))
    if not first():
        return
    if not page.exists():
        if drawn:
            # Over the page of a second caller too, which found the evaluation complete and drew it meanwhile.
            report([folder], page, overwrite=True)
        return
    shown = made_of(page)
    if own_hash(Path(folder) / RESULT) in shown:
        return
    if drawn and len(shown) == 1 and is_unchanged_page(page):
        report([folder], page, overwrite=True)
        return
    print(
        f"{page} was not made from the {RESULT} that is there, and may show other numbers: move it away, and the same "
        f"command {'makes' if drawn else 'makes, with fx-surgeon[report],'} a page of this evaluation",
        file=sys.stderr,
        flush=True,
    )


def network_of(
    target: str,
    *,
    input_size: tuple[int, ...] | None = None,
    seed: int = 0,
    pretrained: bool = False,
    weights: str | None = None,
    weights_entry: str | None = None,
    num_classes: int | None = None,
    model_args: dict[str, Any] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    allow_code: Sequence[str] = (),
) -> nn.Module:
    """The network in a folder (a network's or a run's), or by name with its weights.

    Args:
        target: a folder, `hf-hub:owner/name`, or a model's name.
        input_size: (C, H, W), for a network by name.
        seed: seed of random weights.
        pretrained: use the library's pretrained weights unless `weights` are given.
        weights: a checkpoint file.
        weights_entry: which set of weights of the file.
        num_classes: number of outputs.
        model_args: further arguments of the builder.
        mean: what its images are normalised by, one number per channel; by default as its configuration says.
        std: one number per channel.
        allow_code: modules that a folder may import.

    Raises:
        ArtifactError: surgeon did not write the folder.
        ModelError: the name is unknown, or a record says another normalisation.
    """
    path = folder_of(target)
    if path:
        place = path / TRAINED if (path / TRAINED).is_dir() else path
        return as_said(in_float32(load(place, allow_code=allow_code), target), mean, std, record=target)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return create_model(
            target,
            pretrained=pretrained and not weights,
            weights=weights,
            weights_entry=weights_entry,
            num_classes=num_classes,
            input_size=input_size,
            in_chans=input_size[0] if input_size else None,
            model_args=model_args,
            mean=mean,
            std=std,
        )
