"""Check a network's folder: the files are unchanged, the network loads, and does what its record says."""

from __future__ import annotations

from pathlib import Path

import timm
from torch import nn

from surgeon.disk.hashes import own_hash
from surgeon.errors import SurgeonError
from surgeon.models import own
from surgeon.models.creating import ZOO
from surgeon.models.libraries import TORCHVISION
from surgeon.models.robustbench import SCHEME
from surgeon.models.source_code import changed_code, code_of
from surgeon.ownership import read_manifest, strangers
from surgeon.pipeline.chain.checking import Misfit, Unknown, checked, some, unknown
from surgeon.store.artifact import load
from surgeon.store.folder import (
    CONFIG,
    WEIGHTS,
    check_files,
    hashes_of,
    read_config,
    unverified,
)
from surgeon.surgery.door import surgery_of
from surgeon.surgery.folding import uncut_network
from surgeon.verification import Check, demand, verify

READ = (".safetensors", ".json", ".yaml")
"""Suffixes of files that surgeon reads; one that it did not write does not belong in its folder."""


def network_checks(
    folder: Path, allowed: tuple[str, ...], *, fresh: bool = False
) -> tuple[list[Check], nn.Module | None]:
    """The checks of a network's folder, and the network if it can be loaded.

    Args:
        folder: the folder.
        allowed: modules that it may import.
        fresh: it was not trained since the cut, so that what its record says of the function still holds.
    """
    networks: list[nn.Module] = []
    checks = [checked("files", lambda: written(folder)), checked("hashes", lambda: _hashes(folder))]
    if checks[1].ok is False:
        return [*checks, unknown("loads", "not tried: the files have changed")], None
    checks.append(checked("loads", lambda: _loaded(folder, allowed, networks)))
    network = networks[0] if networks else None
    if network is not None and (code := read_config(folder).code):
        checks.append(checked("code", lambda: _same_code(network, code)))
    if network is not None and surgery_of(network) is not None:
        checks.append(checked("record", lambda: _agrees(network, fresh)))
    return checks, network


def written(folder: Path) -> str:
    """Check that a folder's files are those of its manifest, with the same contents.

    Args:
        folder: the folder.

    Raises:
        Misfit: a file is missing, changed or added.
    """
    known = read_manifest(folder)
    if known is None or known.files is None:
        raise Misfit("the manifest .surgeon.json, which says what surgeon wrote, is not there or damaged")
    missing = [n for n in known.files if not (folder / n).is_file()]
    if missing:
        raise Misfit(f"missing: {some(missing)}")
    other = [n for n in strangers(folder, known) if not n.endswith("/")]
    changed = [n for n in other if n in known.files and own_hash(folder / n) != known.files[n]]
    if changed:
        raise Misfit(f"changed since they were written: {some(changed)}")
    foreign = [n for n in other if n not in known.files]
    read = [n for n in foreign if n.endswith(READ)]
    if read:
        raise Misfit(f"not written by surgeon, which would read them: {some(read)}")
    return f"{len(known.files)} files as they were written" + (
        f"; not surgeon's: {some(foreign)}" if foreign else ""
    )


def _hashes(folder: Path) -> str:
    if unverified(hashes_of(folder, read_config(folder))):
        raise Unknown(f"{CONFIG} states no hash of {WEIGHTS}, so whether it has changed cannot be known")
    record = check_files(folder)
    return (
        "a stock network" if record is None else f"{len(record.edits)} edits by {record.recipe or 'a plan'}"
    )


def _loaded(folder: Path, allowed: tuple[str, ...], networks: list[nn.Module]) -> str:
    config = read_config(folder)
    name = config.architecture
    if own.is_own(name) and own.module_of(name) not in allowed:
        raise Unknown(f"it imports {own.module_of(name)}: allow it by --allow-code {own.module_of(name)}")
    if config.unwritten_args:
        raise Unknown("its arguments were not plain data, and no name rebuilds it")
    known = (
        name.startswith((TORCHVISION, ZOO, SCHEME)) or own.is_own(name) or timm.is_model(name.split(".")[0])
    )
    if not known:
        raise Unknown(f"no name rebuilds it: {name} is a class of its own")
    networks.append(load(folder, allow_code=allowed))
    return name


def _same_code(network: nn.Module, before: dict[str, str]) -> str:
    if changed := changed_code(before, code_of(network)):
        raise Misfit(f"the code of {some(changed)} has changed since: the network computes what it says now")
    return f"{some(list(before))} as at saving"


def _agrees(network: nn.Module, fresh: bool) -> str:
    try:
        stock = uncut_network(network)
    except SurgeonError as error:
        raise Unknown(f"the network before the surgery cannot be had again: {error}") from None
    made = [c for c in verify(stock, network) if fresh or c.name != "effect"]
    demand(made)
    return ", ".join(c.name for c in made if c.ok) + " as it says"
