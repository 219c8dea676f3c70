"""Check a conversion: its checkpoint, the images that it was calibrated and measured on, and the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from surgeon.data import differing
from surgeon.errors import either
from surgeon.models.creating import create_model
from surgeon.models.facts import input_size_of
from surgeon.models.own import is_own, module_of
from surgeon.pipeline.chain.checking import Misfit, Unknown, checked, within
from surgeon.pipeline.chain.comparing import demand_equal
from surgeon.pipeline.chain.network import network_checks
from surgeon.pipeline.chain.origins import demand_source, plain
from surgeon.pipeline.checkpoint import Held, differing_in, held
from surgeon.pipeline.conversion import Conversion, read_conversion
from surgeon.pipeline.converting import CONVERSIONS, SETTINGS
from surgeon.pipeline.job import Job
from surgeon.pipeline.lineage import CONVERSION
from surgeon.reading import read_json, read_mapping
from surgeon.store.folder import CONFIG, WEIGHTS, network_in
from surgeon.surgery.door import surgery_of
from surgeon.verification import Check


def conversion_checks(folder: Path, allowed: tuple[str, ...]) -> list[Check]:
    """The checks of a network's folder and, where it has a conversion.json, of what it was made from.

    Args:
        folder: the folder.
        allowed: modules that it may import.
    """
    checks, network = network_checks(folder, allowed)
    if not (folder / CONVERSION).is_file():
        return checks
    read: list[Conversion] = []
    checks.append(checked(CONVERSION, lambda: _read(folder, network, read)))
    if read:
        checks.append(checked("checkpoint", lambda: _checkpoint(read[0], allowed)))
        checks += _images(read[0], network)
    return checks


def conversions_checks(folder: Path, allowed: tuple[str, ...]) -> list[Check]:
    """The checks of a folder of conversions: each one, and their table.

    Args:
        folder: the folder.
        allowed: modules that it may import.
    """
    checks = []
    for place in sorted(p.parent for p in folder.glob(f"*/{CONVERSION}")):
        checks += within(place.name, conversion_checks(place, allowed))
    checks.append(checked(CONVERSIONS, lambda: _table(folder)))
    return checks


def _read(folder: Path, network: nn.Module | None, read: list[Conversion]) -> str:
    conversion = read_conversion(folder)
    assert conversion is not None
    read.append(conversion)
    record = None if network is None else surgery_of(network)
    if record is not None and (conversion.effect, conversion.folds) != (record.effect, record.folds):
        raise Misfit("does not agree with the network's record about the cut")
    return f"of {conversion.checkpoint}"


def _checkpoint(conversion: Conversion, allowed: tuple[str, ...]) -> str:
    given = Path(conversion.checkpoint)
    if not conversion.sha256:
        raise Unknown(f"{given} has no hash in the record")
    if not given.exists():
        return _by_name(conversion, allowed)
    place = network_in(given) / WEIGHTS if given.is_dir() else given
    if not place.is_file():
        raise Unknown(f"{place} is no longer there")
    now = held(given, lambda: _no_network(None))
    changed = differing_in(Held(conversion.sha256, conversion.config), now)
    if changed and now.weights == conversion.sha256:
        raise Misfit(f"{place.parent / CONFIG} is not the file that was converted by")
    if changed:
        raise Misfit(f"{place} is not the file that was converted")
    return f"{place}, by its sha256" + (f", and {CONFIG}" if conversion.config else "")


def _by_name(conversion: Conversion, allowed: tuple[str, ...]) -> str:
    """Make own code's network anew, where it may be imported, and compare what it holds."""
    name, said = conversion.checkpoint, conversion.settings
    if not is_own(name):
        raise Unknown(f"{name} is no longer there, or is not fetched again to be compared")
    if module_of(name) not in allowed:
        raise Unknown(f"{name} is code, and nothing was imported: {_allow(module_of(name))} compares it")
    with torch.random.fork_rng():
        torch.manual_seed(said["seed"])
        network = create_model(
            name,
            num_classes=said["num_classes"],
            in_chans=said["in_chans"],
            input_size=None if said["input_size"] is None else tuple(said["input_size"]),
            model_args=said["model_args"],
            mean=said.get("mean"),
            std=said.get("std"),
        )
    if changed := differing_in(Held(conversion.sha256, conversion.config), held(name, lambda: network)):
        raise Misfit(f"{name} does not make what was converted any more: {changed} is another")
    return f"{name}, by the weights that it makes"


def _allow(module: str) -> str:
    return either(f"allow_code=[{module!r}]", f"--allow-code {module}")


def _images(conversion: Conversion, network: nn.Module | None) -> list[Check]:
    contents = conversion.settings["contents"]
    now: list[dict[str, Any]] = []

    def look(name: str) -> str:
        if not now:
            now.append(plain(_job(conversion, network).asked["contents"]))
        if change := differing(contents[name], now[0][name]):
            raise Misfit(f"the source does not hold what it held: {change}")
        return f"{contents[name]['images']} images"

    return [
        checked(f"data/{name}", lambda name=name: look(name))  # type: ignore[misc]  # the name of this turn
        for name, held in contents.items()
        if held is not None
    ]


def _job(conversion: Conversion, network: nn.Module | None) -> Job:
    """The job of the conversion, as far as its images are concerned."""
    s = conversion.settings
    for source in (s["data"], s["calibration"]):
        if source:
            demand_source(source, s["root"])
    size = s["input_size"] or (None if network is None else input_size_of(network))
    if size is None:
        raise Unknown("the images' size is the network's, which was not loaded")
    return Job(
        _no_network,
        (),
        s,
        input_size=tuple(size),
        data=s["data"],
        root=s["root"],
        samples=s["samples"],
        calibration=s["calibration"],
        calibration_count=s["calibration_count"],
        seed=s["seed"],
        lineage=conversion.lineage,
        compare=False,
    )


def _no_network(path: Path | None) -> nn.Module:
    raise Unknown("the images' size is the network's, which was not loaded")


def _table(folder: Path) -> str:
    """Check that conversions.json matches the folders."""
    if not (folder / CONVERSIONS).is_file():
        raise Unknown("not finished: the same command goes on")
    read_mapping(folder / SETTINGS)
    rows = read_json(folder / CONVERSIONS)
    good = [row for row in rows if set(row) - {"checkpoint", "error"}]
    for row in good:
        name = Path(str(row["checkpoint"])).stem
        own = read_mapping(folder / name / CONVERSION)
        there = {k: v for k, v in row.items() if k != "error"}
        demand_equal({**own, "checkpoint": row["checkpoint"]}, there, f"{name}/{CONVERSION} is not its row")
    refused = sum("error" in row for row in rows)
    return f"{len(good)} conversions, {refused} refused" + (" at the last call" if refused else "")
