"""Requirements checked before a job begins: known images, matching classes, something to train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from surgeon.data import absolute_source
from surgeon.data.refusals import LIBRARY, STREAMS, streamed
from surgeon.errors import ArtifactError, DataError, ModelError, RecipeError, either
from surgeon.models import naming
from surgeon.models.creating import is_known, list_models
from surgeon.models.robustbench import is_robustbench
from surgeon.pipeline.class_setting import classes_setting
from surgeon.pipeline.lineage import lineage_of
from surgeon.pipeline.origin import Lineage, class_order
from surgeon.recipe import Data, Training
from surgeon.store.artifact import folder_of
from surgeon.store.folder import CONFIG, no_network

FRESH = "digits"
"""What a fresh network is trained on by default: its head is made for these classes, so they always fit."""


class Source(NamedTuple):
    """A source of images, and the folder that it lies in, where it needs one."""

    data: str
    root: str | None


def to_train_on(model: str, data: str | None, root: str | None, *, knows: bool = False) -> Source:
    """Decide which images to train on.

    They are those that the caller names, else those of the model's folder, else the digits for a fresh
    network.

    Args:
        model: a name or a folder.
        data: the source that the caller named, or None.
        root: the folder that the source needs, or None.
        knows: whether the model starts from trained weights.

    Raises:
        DataError: the network is trained already, and no images are named or recorded.
        ArtifactError: the folder holds no network.
        ModelError: the model's name is unknown.
    """
    demand_network(model)
    if data is not None:
        demand_root(data, root)
        return Source(data, root)
    place = folder_of(model)
    if not place and not knows and not is_robustbench(model):
        demand_root(FRESH, root)
        return Source(FRESH, root)
    source = recorded(model) if place else None
    if source is None:
        raise DataError(
            f"{model} starts from trained weights, and nothing says which images they are "
            "for: name those to train on (--data SOURCE)"
        )
    demand_root(source.data, root)
    return Source(source.data, root or source.root)


def demand_root(data: str, root: str | None) -> None:
    """Check that a root that a caller gives is of a source that is read from one.

    Args:
        data: the source.
        root: the folder, or None.

    Raises:
        DataError: the source says by itself where it lies.
    """
    if root is not None and (not data.lower().startswith(LIBRARY) or Path(data).exists()):
        raise DataError(
            f"{either(f'root={root!r}', f'--root {root}')} changes nothing: it is where a data set of timm's lies (its "
            f"name begins with {', '.join(LIBRARY)}), and {data} says by itself where it is; leave it out"
        )


def demand_chosen_from(data: str) -> None:
    """Check, before any training, that images can be evaluated on afterwards.

    Args:
        data: the source.

    Raises:
        DataError: it is a stream, from which no test images can be chosen.
    """
    if data.lower().startswith(STREAMS) and not Path(data).exists():
        raise DataError(streamed(data, "an evaluation"))


def to_evaluate_on(target: str, data: str | None, root: str | None) -> Source:
    """Decide which images to evaluate on: those named, else those recorded in the target's folder.

    Args:
        target: a name or a folder.
        data: the source that the caller named, or None.
        root: the folder that the source needs, or None.

    Raises:
        DataError: no images are named or recorded.
        ArtifactError: the folder holds no network.
        ModelError: the target's name is unknown.
    """
    demand_network(target)
    source = recorded(target)
    if data is None and source is None:
        raise DataError(f"{target} does not say which images it is for: name them (--data SOURCE)")
    if source is not None and (data is None or absolute_source(data) == source.data):
        demand_root(source.data, root)
        return Source(source.data, root or source.root)
    demand_root(str(data), root)
    return Source(str(data), root)


def recorded(target: str) -> Source | None:
    """The images that a folder's network was trained or converted on.

    Args:
        target: a run's folder, a network inside one, or the folder of a network that was cut, converted,
            folded or reverted from it.

    Returns:
        The source; None where nothing is recorded.
    """
    lineage = lineage_of(target)
    return Source(lineage[0].data, lineage[0].root) if lineage else None


def check_classes(
    target: str,
    outputs: int | None,
    source: Source,
    names: tuple[str, ...],
    said: int | None,
    lineage: Lineage = (),
) -> None:
    """Check that a network has one output for each class of the images.

    Args:
        target: the network, for the message.
        outputs: its number of outputs; None if unknown, which passes.
        source: the images, for the message.
        names: the classes' names; empty if unknown.
        said: num_classes as the caller gave it, which permits more outputs than classes.
        lineage: what the network was trained on; its record permits the same for the same classes.

    Raises:
        DataError: the numbers do not match.
    """
    if outputs is None:
        return
    if said is not None and said != outputs:
        raise DataError(f"num_classes={said}, and {target} has {outputs} outputs")
    if len(names) > outputs:
        raise DataError(f"{source.data} has {len(names)} classes, and {target} only {outputs}")
    if said is None and lineage and names == lineage[0].classes:
        said = lineage[0].num_classes
    if names and len(names) < outputs and said != outputs:
        raise DataError(
            f"{source.data} has {len(names)} classes, and {target} has {outputs} outputs: "
            "these are not the images that it "
            f"is for; where output k is meant to be class k and the rest nothing, say so by num_classes={outputs} "
            f"(--num-classes {outputs})"
        )


def check_labels(labels: Tensor, outputs: int | None) -> None:
    """Check that labels are among a network's outputs, which classes without names do not tell.

    Args:
        labels: (N,), the numbers of the classes.
        outputs: the network's number of outputs; None if unknown, which passes.

    Raises:
        DataError: a label is no output.
    """
    if outputs is None or not len(labels) or 0 <= int(labels.min()) <= int(labels.max()) < outputs:
        return
    raise DataError(
        f"labels run from {int(labels.min())} to {int(labels.max())}, the model has {outputs} classes"
    )


def check_names(
    target: str, source: Source, names: tuple[str, ...], lineage: Lineage, *, meant: bool, how: str
) -> str:
    """Check that the images' classes have the names of the network's outputs, in the same order.

    Nothing is checked where either names are unknown.

    Args:
        target: the network, for the message.
        source: the images, for the message.
        names: names of the images' classes, by output.
        lineage: what the network was trained on.
        meant: whether the caller states that output k is class k, whatever it is called.
        how: the words with which the caller would state that, for the message.

    Returns:
        A sentence if different names were accepted because of `meant`; else an empty text.

    Raises:
        DataError: the names or their order differ.
    """
    known = lineage[0].classes if lineage else ()
    if not known or not names or names == known[: len(names)]:
        return ""
    if class_order(known, names) is not None:
        raise DataError(
            f"{source.data} has the classes {_some(names)} in this order, and the outputs of "
            f"{target} are {_some(known)}: give "
            f"them in that order, {classes_setting([c for c in known if c in names])}"
        )
    if not meant:
        raise DataError(
            f"{source.data} has the classes {_some(names)}, and {target} was trained for "
            f"{_some(known)}{_apart(names, known)}: these are not the images "
            f"that it is for; where output k is meant to be class k, {how}"
        )
    return (
        f"{source.data} has the classes {_some(names)}, and {target} was trained for "
        f"{_some(known)}{_apart(names, known)}: taken by number, as was said"
    )


def in_order(names: tuple[str, ...]) -> str:
    """How a caller of a training or conversion states that classes are meant by number.

    Args:
        names: the classes' names.
    """
    return f"say so by {classes_setting(names)}"


def demand_network(target: str) -> None:
    """Check that a name refers to a network.

    Args:
        target: a folder, or a model's name.

    Raises:
        ArtifactError: the folder holds no network and no run; the message says what it holds instead.
        ModelError: there is neither a folder nor a model of this name.
    """
    path = Path(target)
    if path.is_dir() and not any((path / name / CONFIG).is_file() for name in ("", "trained")):
        raise ArtifactError(no_network(target))
    if not path.is_dir() and ":" not in target and not is_known(target):
        raise ModelError(naming.unknown(target, list_models))


def demand_free(model: str, given: Mapping[str, object]) -> None:
    """Check that a folder, which fixes its network, is not given arguments that would have no effect.

    Args:
        model: a name or a folder.
        given: arguments of a network by name; those that are None, False or empty are not given.

    Raises:
        ModelError: the model is a folder, and some are given.
    """
    useless = [
        either(f"{name}=", "--" + name.removesuffix("s" if name == "model_args" else "").replace("_", "-"))
        for name, value in given.items()
        if value
    ]
    if useless and folder_of(model):
        raise ModelError(
            f"{model} is a folder, which fixes its network: {', '.join(useless)} cannot change it; leave it out"
        )


def demand_one_size(size: Sequence[int], data: Data) -> None:
    """Check that the images' size is not said in two ways.

    Args:
        size: (C, H, W), as the caller gave it.
        data: the settings of the data, which may give (H, W) and whether images are gray.

    Raises:
        RecipeError: they give another size, or other channels.
    """
    said = either(f"input_size={tuple(size)}", f"--input-size {','.join(map(str, size))}")
    if data.size is not None and tuple(data.size) != tuple(size[-2:]):
        raise RecipeError(
            f"{said} and data.size={list(data.size)} contradict each other; leave one of them out"
        )
    if "grayscale" in data.model_fields_set and data.grayscale != (size[0] == 1):
        raise RecipeError(
            f"{said} and data.grayscale={str(data.grayscale).lower()} contradict each other; leave one of them out"
        )


def demand_epochs(training: Training) -> None:
    """Check that a training has epochs.

    Args:
        training: its settings.

    Raises:
        RecipeError: `epochs` is 0.
    """
    if training.epochs == 0:
        raise RecipeError(
            "training.epochs=0 trains nothing: `surgeon apply` cuts a network without training it, `surgeon evaluate` "
            "attacks one as it is; training.epochs=1 is the least"
        )


def _apart(names: Sequence[str], known: Sequence[str]) -> str:
    """Name the classes that only one side has, where the lists of both are cut short."""
    if max(len(names), len(known)) <= _SHOWN:
        return ""
    here, there = ([c for c in one if c not in other] for one, other in ((names, known), (known, names)))
    parts = [f"{_some(c)} {where}" for c, where in ((here, "only here"), (there, "only there")) if c]
    return f" ({', '.join(parts)})" if parts else ""


_SHOWN = 8


def _some(names: Sequence[str], shown: int = _SHOWN) -> str:
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")
