"""What the config.json beside a file of weights says of their network, as in a folder of surgeon's or of timm's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from surgeon.edits import Plan
from surgeon.errors import ArtifactError, either
from surgeon.images import times
from surgeon.methods.annealed import FOLDED_IN_PART
from surgeon.models.facts import (
    ASSUMED,
    ORIGIN,
    in_channels_of,
    input_size_of,
    name_of,
    normalised_in_words,
    normalization_of,
)
from surgeon.models.naming import FOR_SURGEON
from surgeon.models.normalisation import contradicted, in_words
from surgeon.models.preparation import STRETCHED, resizing_of
from surgeon.reading import read_json
from surgeon.wrappers import unwrapped

CONFIG = "config.json"
_PLACES = ("site", "operation", "layer", "replaces", "before", "call", "settings")
"""Keys of an edit by which two surgeries are the same."""
_TOLD_BY_SHAPES = ("num_classes", "in_chans")
"""Arguments by which weights would not fit."""
_OF_A_RUN = ("training", "cut")
"""A run's folder of checkpoints, and the one of the network that it began with, which has the configuration."""


def configuration_beside(weights: str | Path | None) -> Mapping[str, Any] | None:
    """Return timm's `pretrained_cfg` of the folder in which a file of weights lies, or of the run.

    Args:
        weights: The file, or None.

    Returns:
        The mapping; None where no config.json lies there, or it has none that can be read.
    """
    cfg = _content(weights).get("pretrained_cfg")
    return cfg if isinstance(cfg, Mapping) else None


def config_beside(weights: str | Path | None) -> Path | None:
    """Find the config.json that a file of weights belongs to.

    Args:
        weights: The file, or None.

    Returns:
        The one beside it, or for a checkpoint of a run that of the network that was trained; None without one.
    """
    if not weights:
        return None
    place = Path(weights).absolute().parent
    checkpoints, begun = _OF_A_RUN
    places = [place, *([place.parent / begun] if place.name == checkpoints else [])]
    return next((p / CONFIG for p in places if (p / CONFIG).is_file()), None)


def normalisation_beside(weights: str | Path | None) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return what images of a file of weights are normalised by, as its folder says.

    Args:
        weights: The file, or None.

    Returns:
        (mean, std), one number per channel each, in units of [0, 1] pixels; None where the folder does not say it.
    """
    cfg = configuration_beside(weights)
    mean, std = (_numbers(cfg.get(key)) if cfg else () for key in ("mean", "std"))
    return (mean, std) if mean and len(mean) == len(std) and min(std) > 0 else None


def guessed_beside(weights: str | Path) -> bool:
    """Whether nothing says how images of a file of weights are normalised: no folder, or one that assumes it.

    Args:
        weights: The file.
    """
    return configuration_beside(weights) is None or _content(weights).get("normalisation") == ASSUMED


def guess_as(model: nn.Module, weights: str | Path) -> None:
    """Take a network's normalisation for a guess where nothing says it of the weights that were loaded into it.

    Args:
        model: The network, changed in place; nothing is done where it was said, or where the network was not made here.
        weights: The file.
    """
    inside = unwrapped(model)
    origin = inside.__dict__.get(ORIGIN)
    if origin is not None and ASSUMED not in origin and guessed_beside(weights):
        inside.__dict__[ORIGIN] = {**origin, ASSUMED: True}


def input_size_beside(weights: str | Path | None) -> tuple[int, ...] | None:
    """Return the size of the images of a file of weights, as its folder says.

    Args:
        weights: The file, or None.

    Returns:
        (C, H, W); None where the folder does not say it.
    """
    size = (configuration_beside(weights) or {}).get("input_size")
    if not isinstance(size, (list, tuple)) or len(size) != 3:
        return None
    return tuple(size) if all(type(n) is int and n > 0 for n in size) else None


def resizing_beside(weights: str | Path | None) -> dict[str, Any]:
    """Return how images of a file of weights are resized, as its folder says.

    Args:
        weights: The file, or None.

    Returns:
        timm's `interpolation`, `crop_pct` and `crop_mode`, as far as they are there.
    """
    cfg = configuration_beside(weights) or {}
    return {k: cfg[k] for k, usual in STRETCHED.items() if type(cfg.get(k)) is type(usual)}


def lost_beside(weights: str | Path | None, model: nn.Module) -> str:
    """Say what the network of a file of weights has, by its folder, and the one that they were loaded into has not.

    Layers without weights of their own are among it, such as activations: the file fits all the same.

    Args:
        weights: The file, or None.
        model: The network that was made by name, with its weights.

    Returns:
        A sentence or two; empty where nothing is known to be missing.
    """
    inside = unwrapped(model)
    content, origin = _content(weights), inside.__dict__.get(ORIGIN) or {}
    sentences = []
    if missing := [*_surgery(content.get("surgery"), inside), *_changes(content, inside)]:
        here = "has otherwise" if _record(inside) else "is made without here"
        sentences.append(
            f"{weights} holds the weights of a network with {' and '.join(missing)}, which {name_of(model)} {here}: "
            "it is another network; give its folder in place of the file"
        )
    sentences += [f"{weights}: {note}" for note in _folded_in_part(content.get("surgery"))]
    name, ours = str(content.get("architecture")).removeprefix(FOR_SURGEON), _name(inside)
    same = name in (ours, ours.partition(".")[0])  # timm's name with its tag, or without
    # What own code or a repository makes, its name does not say.
    if ours and "architecture" in content and not same and ":" not in ours:
        sentences.append(
            f"{weights} holds the weights of {name}, and {ours} is made here: tensors of the same shapes do not make "
            "it the same network; give its folder in place of the file"
        )
    theirs = _arguments(content.get("model_args"), {})
    if same and not origin and theirs:
        sentences.append(
            f"{weights} holds the weights of a network made with {theirs}, and nothing says how this "
            f"{name_of(model)} was made: surgeon.load of its folder makes the same"
        )
    if same and origin and (differ := _arguments(content.get("model_args"), origin.get("args"))):
        sentences.append(
            f"{weights} holds the weights of a network made with {differ}, and {name} is made here otherwise: give "
            f"the same ({either('model_args', '--model-arg')}), or its folder in place of the file"
        )
    return "; ".join(sentences)


def otherwise_beside(weights: str | Path, model: nn.Module) -> str:
    """Say what the folder of a file of weights says otherwise than the network that they were loaded into.

    Args:
        weights: The file.
        model: The network, made in any way.

    Returns:
        Sentences on layers and arguments (`lost_beside`), on the normalisation, the size and the resizing of images;
        empty where the folder says nothing else.
    """
    cfg = configuration_beside(weights)
    lost = lost_beside(weights, model)
    if cfg is None:
        return lost
    sentences = [lost] if lost else []
    beside = normalisation_beside(weights)
    guess = _content(weights).get("normalisation") == ASSUMED
    ours = "format" in _content(weights)  # a folder of surgeon's has no mean where images were pixels
    if (
        not guess
        and (beside or ours and not cfg.get("mean"))
        and (contradicted(model, beside) or _new(model, beside))
    ):
        how = "pixels in [0, 1]" if beside is None else f"images normalised by {in_words(*beside)}"
        there = beside or tuple((v,) * (in_channels_of(model) or 3) for v in (0.0, 1.0))
        sentences.append(
            f"{weights} was trained on {how}, as its folder says, and this {name_of(model)} says of its images: "
            f"{normalised_in_words(model)}; surgeon.models.set_normalization(model, {there[0]}, {there[1]}) sets it"
        )
    size, here = input_size_beside(weights), input_size_of(model)
    if size and here and size[-2:] != here[-2:]:
        sentences.append(f"its images are of {times(size)}, and the network is configured for {times(here)}")
    resized, own = resizing_beside(weights), resizing_of(model)
    if own and resized and {k: own[k] for k in resized} != resized:
        sentences.append("its folder says another way of resizing images than the network's configuration")
    if len(sentences) > bool(lost):
        sentences.append(
            "surgeon.create_model(name, weights=…) takes all of these, and surgeon.load the folder itself"
        )
    return "; ".join(sentences)


def _new(model: nn.Module, beside: object) -> bool:
    """Whether a folder says how images are normalised and the network does not."""
    return beside is not None and normalization_of(model) is None


def _name(model: nn.Module) -> str:
    """The name that a network was created by, here or by timm; empty where nothing says it."""
    origin, config = model.__dict__.get(ORIGIN), model.__dict__.get("pretrained_cfg")
    by_timm = config.get("architecture") if isinstance(config, Mapping) else None
    return str(origin["name"] if origin else by_timm or "")


def _record(model: nn.Module) -> Plan | None:
    """The record of the surgery on a network, or of one that was folded."""
    record = model.__dict__.get("surgery") or model.__dict__.get("folded_from")
    return record if isinstance(record, Plan) else None


def _surgery(surgery: object, model: nn.Module) -> list[str]:
    """The surgery in a configuration, if layers of it stand in its network, and the one here has not the same."""
    plan = surgery.get("plan") if isinstance(surgery, Mapping) else None
    if not isinstance(surgery, Mapping) or not isinstance(plan, Mapping):
        return []
    edits = plan.get("edits")
    exchanged = any(isinstance(e, Mapping) and e.get("exchanges") for e in edits or ())
    record = _record(model)
    if record is not None and _cuts(record.model_dump(mode="json")) == _cuts(plan):
        return []
    return [f"surgery ({plan.get('recipe')})"] if not surgery.get("folded") or exchanged else []


def _cuts(plan: Mapping[str, Any]) -> str:
    """What a plan does and where, without what is measured of it or starts its weights."""
    listed = plan.get("edits")
    edits = [e for e in listed if isinstance(e, Mapping)] if isinstance(listed, list) else []
    return _plain([plan.get("operations"), [{k: e.get(k) for k in _PLACES} for e in edits]])


def _folded_in_part(surgery: object) -> list[str]:
    """What a configuration says of layers that were folded with a part of their effect."""
    plan = surgery.get("plan") if isinstance(surgery, Mapping) else None
    notes = plan.get("notes") if isinstance(plan, Mapping) else None
    mappings = [n for n in notes or () if isinstance(n, Mapping)] if isinstance(notes, list) else []
    return [str(n.get("text")) for n in mappings if n.get("code") == FOLDED_IN_PART]


def _changes(content: Mapping[str, Any], model: nn.Module) -> list[str]:
    """Changes of a network after its name made it that are not here too: settings and modules, by place."""
    said = [(key, c) for key in ("settings", "exchanged") if isinstance(c := content.get(key), Mapping)]
    places = [
        n for key, c in said for n, value in c.items() if not _stands(model, n, value, key == "settings")
    ]
    more = f" and {len(places) - 1} more place{'s' * (len(places) > 2)}" if len(places) > 1 else ""
    return [f"changes at {places[0]}{more}"] if places else []


def _stands(model: nn.Module, place: str, said: object, setting: bool) -> bool:
    """Whether a network has at a place what a configuration says of it: a setting, or words as `SiLU, not ReLU`.

    Of a module the class is looked at; a tensor of another shape does not fit and is told by that.
    """
    here: Any = model
    for name in place.split("."):
        here = getattr(here, name, None)
    if setting:
        return _plain(here) == _plain(said)
    begins = type(here).__name__ if isinstance(here, nn.Module) else repr(here)
    return isinstance(here, Tensor) or (here is not None and str(said).startswith(begins))


def _arguments(theirs: object, ours: object) -> str:
    """Arguments that a network was made with, and another one was not."""
    theirs, ours = (dict(a) if isinstance(a, Mapping) else {} for a in (theirs, ours))
    both = dict.fromkeys([*theirs, *ours])
    differ = [k for k in both if k not in _TOLD_BY_SHAPES and _plain(theirs.get(k)) != _plain(ours.get(k))]
    return ", ".join(f"{k}={theirs[k]!r}" if k in theirs else f"no {k}" for k in differ)


def _plain(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _content(weights: str | Path | None) -> Mapping[str, Any]:
    place = config_beside(weights)
    try:
        content = None if place is None else read_json(place)
    except ArtifactError:
        content = None
    return content if isinstance(content, Mapping) else {}


def _numbers(value: object) -> tuple[float, ...]:
    listed = value if isinstance(value, (list, tuple)) else ()
    plain = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in listed)
    return tuple(map(float, listed)) if plain else ()
