"""What a network's folder says of itself: `config.json`, which timm reads, with the surgery and the files' hashes in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from surgeon import own
from surgeon.contents import instead
from surgeon.edits import Plan
from surgeon.errors import ArtifactError
from surgeon.hashes import own_hash, same_kind
from surgeon.models import ORIGIN, TORCHVISION, ZOO, input_size_of, is_known, name_of, num_classes_of
from surgeon.surgery.tree import surgery_of

WEIGHTS, ORIGINAL, CONFIG = "model.safetensors", "original.safetensors", "config.json"
FORMAT = 1
_MADE = "surgeon apply, or surgeon.save from Python, writes a folder of it"
PLACES = ("hf_hub_id", "url", "file", "source")
"""Keys of timm's configuration that say where its own weights lie."""


def read_config(folder: str | Path) -> dict[str, Any]:
    """The configuration in a folder. Raises ArtifactError where there is none that can be read."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise ArtifactError(no_network(folder))
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict) or "architecture" not in config:
        raise ArtifactError(f"{path} names no architecture")
    return config


def no_network(folder: str | Path) -> str:
    """The message for a place where no network is: what is there instead, and what to do with it."""
    place = Path(folder)
    if place.is_file():
        inside = (place.parent / CONFIG).is_file()
        return f"{folder} is a file, no model folder" + (
            f": give its folder, {place.parent}" if inside else ""
        )
    if not place.exists():
        named = f"; it is a model's name: {_MADE}" if is_known(str(folder)) else ""
        return f"{folder} is no model folder: nothing is there{named}"
    found = instead(place)
    return f"{folder} {found}" if found else f"{folder} is no model folder: it has no {CONFIG}"


def check_files(folder: str | Path) -> Plan | None:
    """The record of a folder's surgery (None for a stock network), whose files are those that were written.

    Raises ArtifactError for a folder that is incomplete, or changed since it was written (hashes).
    """
    folder = Path(folder)
    record, hashes = read_surgery(read_config(folder), folder)
    check_present(folder, hashes)
    check_hashes(folder, hashes)
    return record


def check_present(folder: Path, hashes: Mapping[str, str]) -> None:
    """Raise ArtifactError unless the weights, and every file that has a hash, are there."""
    for name in {WEIGHTS: "", **hashes}:
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder} is incomplete: {name} is missing")


def check_hashes(folder: Path, hashes: Mapping[str, str]) -> None:
    """Raise ArtifactError for a file that is not the one that was written."""
    for name, wanted in hashes.items():
        found = same_kind(folder / name, wanted)
        if found != wanted:
            raise ArtifactError(
                f"{folder / name} has changed since it was written: its hash is {found[:21]}…, not {wanted[:21]}…"
            )


def config_of(model: nn.Module, model_args: dict[str, Any]) -> dict[str, Any]:
    """What timm reads of a network, and the arguments that made it; without the surgery."""
    origin = model.__dict__.get(ORIGIN) or {}
    args = {**origin.get("args", {}), **model_args}
    unwritten = [k for k, v in args.items() if not _plain(v)]
    args = {k: v for k, v in args.items() if k not in unwritten}
    headless = getattr(model, "num_classes", None) == 0  # timm's word for a network without a head
    classes, size = 0 if headless else num_classes_of(model), input_size_of(model)
    cfg = {k: v for k, v in (model.__dict__.get("pretrained_cfg") or {}).items() if _plain(v)}
    name = name_of(model)
    architecture = (
        name
        if name.startswith((TORCHVISION, ZOO)) or own.is_own(name) or not cfg
        else cfg.get("architecture", name.split(".")[0])
    )
    if size and size[0] != (cfg.get("input_size") or size)[0] and not own.is_own(name):
        args.setdefault("in_chans", size[0])
    if classes is not None:
        cfg["num_classes"] = classes
    if size:
        cfg["input_size"] = list(size)
    for key in PLACES:
        cfg.pop(key, None)
    config: dict[str, Any] = {"architecture": architecture, "num_classes": classes}
    if isinstance(getattr(model, "num_features", None), int):
        config["num_features"] = model.num_features
    pool = getattr(model, "global_pool", None)
    if isinstance(pool, str):
        config["global_pool"] = pool
    config["pretrained_cfg"] = cfg
    config["model_args"] = {k: v for k, v in args.items() if k != "num_classes" or own.is_own(name)}
    if unwritten:
        config["unwritten_args"] = unwritten
    config["format"] = FORMAT
    return config


def _plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def surgery_entry(model: nn.Module, work: Path, displaced: bool) -> dict[str, Any] | None:
    """The key `surgery` for weights that lie in `work` already; None for a network that had none."""
    record = surgery_of(model)
    folded = model.__dict__.get("folded_from")
    hashes = {WEIGHTS: own_hash(work / WEIGHTS)}
    if displaced:
        hashes[ORIGINAL] = own_hash(work / ORIGINAL)
    if record is None:
        if folded is None:
            return None
        return {"folded": True, "plan": folded.model_dump(mode="json"), "hashes": hashes}
    return {"folded": False, "plan": record.model_dump(mode="json"), "hashes": hashes}


def read_surgery(config: Mapping[str, Any], folder: Path) -> tuple[Plan | None, dict[str, str]]:
    """The record in a configuration (None for a stock network) and the files' hashes. Raises ArtifactError for others."""
    surgery = config.get("surgery")
    if not surgery:
        return None, {}
    try:
        record = Plan.model_validate(surgery["plan"])
        written = surgery["hashes"] if "hashes" in surgery else surgery["sha256"]
        hashes = {str(k): str(v) for k, v in written.items() if Path(k).name == k}
        return (None if surgery["folded"] else record), hashes
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{folder / CONFIG}: the key 'surgery' cannot be understood: {_line(error)}"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
