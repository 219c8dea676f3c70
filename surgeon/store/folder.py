"""Read and write a folder's `config.json`, with the surgery's record and the hashes of the files in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from surgeon.disk.folder_kinds import instead
from surgeon.disk.hashes import own_hash
from surgeon.edits import Plan
from surgeon.errors import ArtifactError, ArtifactWarning, either
from surgeon.graph.changes.late_code import called_as_written
from surgeon.models import own
from surgeon.models.creating import ZOO, is_known
from surgeon.models.facts import ASSUMED, ORIGIN, input_size_of, name_of, num_classes_of
from surgeon.models.libraries import TORCHVISION
from surgeon.models.robustbench import SCHEME as ROBUSTBENCH
from surgeon.ownership import read_manifest
from surgeon.ownership.parts import TRAINED
from surgeon.reading import read_mapping
from surgeon.store.configuration import CONFIG as CONFIG
from surgeon.store.configuration import FORMAT, Configuration, described
from surgeon.store.configuration import ORIGINAL as ORIGINAL
from surgeon.store.configuration import WEIGHTS as WEIGHTS
from surgeon.store.model_arguments import refusal
from surgeon.strict import faults
from surgeon.surgery.door import surgery_of
from surgeon.warned import warn

_MADE = "surgeon apply, or surgeon.save from Python, writes a folder of it"
SOURCES = (
    "pretrained",
    "weights",
    "weights_backbone",
    "checkpoint_path",
    "cache_dir",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
)
"""Arguments that state where weights came from. They do not change timm's networks otherwise, and the folder
has the weights."""


def read_config(folder: str | Path) -> Configuration:
    """Read the configuration in a folder; each key must have its type and be within its limits.

    Args:
        folder: the folder.

    Raises:
        ArtifactError: there is no network, or its configuration cannot be read.
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


def network_in(folder: Path) -> Path:
    """The folder of a network; a run's folder stands for that of the network that it trained.

    Args:
        folder: a folder.
    """
    if (folder / CONFIG).is_file() or not (folder / TRAINED / CONFIG).is_file():
        return folder
    return folder / TRAINED


def no_network(folder: str | Path) -> str:
    """The message for a place without a network: what is there instead, and what to do with it.

    Args:
        folder: the place.
    """
    place = Path(folder)
    if place.is_file():
        inside = (place.parent / CONFIG).is_file()
        return f"{folder} is a file, no model folder" + (
            f": give its folder, {place.parent}" if inside else ""
        )
    if not place.exists():
        named = f"; it is a model's name: {_MADE}" if is_known(str(folder)) else ""
        return f"{folder} is not a model folder: nothing is there{named}"
    other = instead(place)
    return f"{folder} {other}" if other else f"{folder} is not a model folder: it has no {CONFIG}"


def check_files(folder: str | Path) -> Plan | None:
    """Check that a folder's files are those that were written.

    Args:
        folder: the folder.

    Returns:
        The record of its surgery; None for a stock network.

    Raises:
        ArtifactError: the folder is incomplete, or was changed after it was written (hashes).

    Warns:
        ArtifactWarning: nothing states a hash of its weights.
    """
    folder = Path(folder)
    config = read_config(folder)
    hashes = hashes_of(folder, config)
    check_present(folder, hashes)
    tell_unverified(folder, hashes)
    check_hashes(folder, hashes)
    return record_of(config)


def check_present(folder: Path, hashes: Mapping[str, str]) -> None:
    """Check that the weights, and every file that has a hash, are there.

    Args:
        folder: the folder.
        hashes: file name → hash.

    Raises:
        ArtifactError: a file is missing.
    """
    for name in {WEIGHTS: "", **hashes}:
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder} is incomplete: {name} is missing")


def check_hashes(folder: Path, hashes: Mapping[str, str]) -> None:
    """Check that files have the stated hashes.

    Args:
        folder: the folder.
        hashes: file name → hash.

    Raises:
        ArtifactError: a file has changed since it was written.
    """
    for name, wanted in hashes.items():
        hashed = own_hash(folder / name)
        if hashed != wanted:
            place = folder / name
            meant = either(
                f"load them into a network (surgeon.load_weights(network, {str(place)!r})) and surgeon.save "
                "that to a new folder",
                f"give the file to a network by name, --weights {place}",
            )
            raise ArtifactError(
                f"{place} has changed since it was written: its hash is {hashed[:21]}…, not {wanted[:21]}…; put "
                f"the file back, or fetch it again; if other weights are meant, {meant}"
            )


def unverified(hashes: Mapping[str, str]) -> bool:
    """Whether it cannot be known that a folder's weights are those that were saved.

    Args:
        hashes: file name → hash, of `hashes_of`.
    """
    return WEIGHTS not in hashes


def tell_unverified(folder: Path, hashes: Mapping[str, str]) -> None:
    """Warn if it cannot be known that a folder's weights are those that were saved.

    Args:
        folder: the folder.
        hashes: file name → hash, of `hashes_of`.
    """
    if unverified(hashes):
        warn(
            f"{folder / CONFIG} states no hash of {WEIGHTS}, so it cannot be known whether these are the "
            "weights that were saved; surgeon.save writes one",
            ArtifactWarning,
        )


def config_of(model: nn.Module, model_args: dict[str, Any]) -> dict[str, Any]:
    """Describe a network as timm reads it, with the arguments that made it, but without the surgery.

    Args:
        model: the network.
        model_args: arguments of its builder that the network does not remember.

    Returns:
        The keys of `config.json`.
    """
    origin = model.__dict__.get(ORIGIN) or {}
    args = {**origin.get("args", {}), **model_args}
    headless = getattr(model, "num_classes", None) == 0  # how timm marks a network without a head
    classes, size = 0 if headless else num_classes_of(model), input_size_of(model)
    cfg = described(model.__dict__.get("pretrained_cfg") or {})
    name = name_of(model)
    moot = [k for k in SOURCES if k in args and (not args[k] or _is_timms(name))]
    args = {k: v for k, v in args.items() if k not in moot}
    unwritten = list(refusal(name, args))
    args = {k: v for k, v in args.items() if k not in unwritten}
    architecture = (
        name
        if name.startswith((TORCHVISION, ZOO, ROBUSTBENCH)) or own.is_own(name) or not cfg
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
    if origin.get(ASSUMED):
        config["normalisation"] = ASSUMED
    config["format"] = FORMAT
    return config


def _is_timms(name: str) -> bool:
    return not name.startswith((TORCHVISION, ZOO, ROBUSTBENCH)) and not own.is_own(name)


def hashed_entries(model: nn.Module, work: Path, displaced: bool) -> dict[str, Any]:
    """The keys of `config.json` with the hashes of the files of weights: `surgery`, or `hashes` without one.

    Args:
        model: the network.
        work: the folder in which the files of weights lie already.
        displaced: whether there is an `original.safetensors`.

    Returns:
        The key, with its content.
    """
    record = surgery_of(model)
    folded = model.__dict__.get("folded_from")
    hashes = {WEIGHTS: own_hash(work / WEIGHTS)}
    if displaced:
        hashes[ORIGINAL] = own_hash(work / ORIGINAL)
    plan = folded if record is None else record
    if record is not None and (late := called_as_written(model)):
        plan = record.model_copy(update={"refused": record.refused | late})
    if plan is None:
        return {"hashes": hashes}
    return {
        "surgery": {"folded": record is None, "plan": plan.model_dump(mode="json"), "hashes": hashes},
    }


def record_of(config: Configuration) -> Plan | None:
    """The record of the surgery in a configuration; None for a stock or a folded network.

    Args:
        config: the configuration.
    """
    surgery = config.surgery
    return None if surgery is None or surgery.folded else surgery.plan


def hashes_of(folder: Path, config: Configuration) -> dict[str, str]:
    """The hashes that a folder's files of weights must have.

    They are those of the configuration. Where it does not state that of the weights, as one that other code wrote, that
    of the manifest counts.

    Args:
        folder: the folder.
        config: its configuration.

    Returns:
        File name → hash; without the weights where nothing states theirs.
    """
    stated = {**config.hashes, **(config.surgery.hashes if config.surgery else {})}
    if WEIGHTS not in stated and (known := read_manifest(folder)) and WEIGHTS in (known.files or {}):
        return {WEIGHTS: (known.files or {})[WEIGHTS], **stated}
    return stated
