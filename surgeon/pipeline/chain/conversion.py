"""Check a conversion: its checkpoint, the images that it was calibrated and measured on, and the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from surgeon.data import differing
from surgeon.disk.hashes import sha256_of
from surgeon.models.facts import input_size_of
from surgeon.pipeline.chain.checking import Misfit, Unknown, checked, within
from surgeon.pipeline.chain.comparing import demand_equal
from surgeon.pipeline.chain.network import network_checks
from surgeon.pipeline.chain.origins import demand_source, plain
from surgeon.pipeline.conversion import Conversion, read_conversion
from surgeon.pipeline.converting import CONVERSIONS, SETTINGS, Job
from surgeon.pipeline.lineage import CONVERSION
from surgeon.reading import read_json, read_mapping
from surgeon.store.folder import WEIGHTS
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
        checks.append(checked("checkpoint", lambda: _checkpoint(read[0])))
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


def _checkpoint(conversion: Conversion) -> str:
    given = Path(conversion.checkpoint)
    path = given / WEIGHTS if given.is_dir() else given
    if not conversion.sha256:
        raise Unknown(f"{given} is not a file, and has no hash")
    if not path.is_file():
        raise Unknown(f"{path} is no longer there")
    if sha256_of(path) != conversion.sha256:
        raise Misfit(f"{path} is not the file that was converted")
    return f"{path}, by its sha256"


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
    good = [row for row in rows if "error" not in row]
    for row in good:
        name = Path(str(row["checkpoint"])).stem
        own = read_mapping(folder / name / CONVERSION)
        demand_equal({**own, "checkpoint": row["checkpoint"]}, row, f"{name}/{CONVERSION} is not its row")
    return f"{len(good)} conversions, {len(rows) - len(good)} refused"
