"""What a network's folder says of itself: `config.json`, which timm reads, with the surgery and the files' hashes in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from surgeon.disk.folder_kinds import instead
from surgeon.disk.hashes import own_hash, same_kind
from surgeon.edits import Plan
from surgeon.errors import ArtifactError
from surgeon.models import own
from surgeon.models.creating import ZOO, is_known
from surgeon.models.facts import ORIGIN, input_size_of, name_of, num_classes_of
from surgeon.models.libraries import TORCHVISION
from surgeon.reading import read_mapping
from surgeon.store.configuration import CONFIG as CONFIG
from surgeon.store.configuration import FORMAT, Configuration, described
from surgeon.store.configuration import ORIGINAL as ORIGINAL
from surgeon.store.configuration import WEIGHTS as WEIGHTS
from surgeon.store.model_arguments import refusal
from surgeon.strict import faults
from surgeon.surgery.door import surgery_of

_MADE = "surgeon apply, or surgeon.save from Python, writes a folder of it"
SOURCES = (
    "pretrained", "weights", "weights_backbone", "checkpoint_path", "cache_dir", "pretrained_cfg", "pretrained_cfg_overlay",
)  # fmt: skip
"""Arguments that said where weights came from. Of timm's networks nothing else depends on them, and the folder has the weights."""


def read_config(folder: str | Path) -> Configuration:
    """The configuration in a folder, whose every key is of its type and within its limits.

    Raises ArtifactError where there is none that can be read.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise ArtifactError(no_network(folder))
    content = read_mapping(path)
    if "architecture" not in content:
        raise ArtifactError(f"{path} names no architecture")
    try:
        return Configuration.model_validate(content)
    except ValidationError as error:
        ours = all(item["loc"][:1] == ("surgery",) for item in error.errors())
        place = f"{path}: the key 'surgery' cannot be understood" if ours else f"{path} cannot be used"
        raise ArtifactError(f"{place}: {faults(error)}") from error


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
    record, hashes = read_surgery(read_config(folder))
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
    headless = getattr(model, "num_classes", None) == 0  # timm's word for a network without a head
    classes, size = 0 if headless else num_classes_of(model), input_size_of(model)
    cfg = described(model.__dict__.get("pretrained_cfg") or {})
    name = name_of(model)
    moot = [k for k in SOURCES if k in args and (not args[k] or _is_timms(name))]
    args = {k: v for k, v in args.items() if k not in moot}
    unwritten = list(refusal(name, args))
    args = {k: v for k, v in args.items() if k not in unwritten}
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


def _is_timms(name: str) -> bool:
    return not name.startswith((TORCHVISION, ZOO)) and not own.is_own(name)


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


def read_surgery(config: Configuration) -> tuple[Plan | None, dict[str, str]]:
    """The record in a configuration (None for a stock network) and the files' hashes."""
    surgery = config.surgery
    if surgery is None:
        return None, {}
    return (None if surgery.folded else surgery.plan), dict(surgery.hashes)
