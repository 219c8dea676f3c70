"""`surgeon verify`: check a folder and all that it was made from, link by link. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from surgeon.errors import ArtifactError
from surgeon.host import in_own_state
from surgeon.ownership import read_manifest
from surgeon.ownership.parts import EVALUATION
from surgeon.pipeline.chain.checking import checked, within
from surgeon.pipeline.chain.conversion import conversion_checks, conversions_checks
from surgeon.pipeline.chain.evaluation import evaluation_checks
from surgeon.pipeline.chain.network import written
from surgeon.pipeline.chain.origins import Reader
from surgeon.pipeline.chain.page import page_checks
from surgeon.pipeline.chain.reproduction import reproduction_checks
from surgeon.pipeline.chain.run import run_checks
from surgeon.pipeline.chain.study import study_checks
from surgeon.pipeline.chain.target import tested_by_name
from surgeon.pipeline.chain.transfer import transfer_checks
from surgeon.reading import read_mapping
from surgeon.report.origin import is_page
from surgeon.store.exporting.request import SUFFIXES
from surgeon.store.folder import CONFIG
from surgeon.verification import Check, Checks

_FILES = {
    "study.json": "study",
    "protocol.json": "reproduction",
    "evaluation.json": "evaluation",
    "conversions.json": "conversions",
    "config.json": "network",
    "recipe.yaml": "run",
}
"""File → the kind of folder it marks, used where the manifest is missing."""


@in_own_state()
def verify_folder(folder: str | Path, *, allow_code: Iterable[str] = ()) -> Checks:
    """Check that what surgeon wrote is consistent, in itself and with what it was made from.

    Nothing is written, downloaded or repaired.

    Args:
        folder: the folder of a network, a conversion, a run, an evaluation, a study or a
            reproduction; or a page.
        allow_code: modules that folders of own code may import, as for `surgeon.load`.

    Returns:
        One check per link, a tuple. `ok` is None where it could not be made: what it needs is missing or not finished.

    Raises:
        ArtifactError: surgeon did not write the folder.

    Examples:
        >>> import tempfile, surgeon
        >>> from surgeon.pipeline import verify_folder
        >>> with tempfile.TemporaryDirectory() as place:
        ...     folder = surgeon.save(surgeon.create_model("zoo/lenet5"), f"{place}/network")
        ...     all(check.ok is not False for check in verify_folder(folder))
        True
    """
    return Checks(_links(Path(folder), (allow_code,) if isinstance(allow_code, str) else tuple(allow_code)))


def _links(path: Path, allowed: tuple[str, ...]) -> list[Check]:
    """Check each link of what lies at a path."""
    if path.is_file() and is_page(path):
        return page_checks(path)
    kind = kind_of(path)
    path, reader = path.resolve(), Reader(allowed)
    if kind == "network":
        return conversion_checks(path, allowed)
    if kind == "conversions":
        return conversions_checks(path, allowed)
    if kind == "run":
        return run_checks(path, reader)
    if kind == "study":
        return study_checks(path, reader)
    if kind == "reproduction":
        return reproduction_checks(path, reader)
    if kind == "evaluation":
        return _evaluation(path, reader)
    return _others(path, allowed)


def kind_of(folder: Path) -> str:
    """What surgeon wrote into a folder.

    Args:
        folder: the folder.

    Returns:
        "network", "conversions", "run", "evaluation", "study", "reproduction", or another word of its manifest.

    Raises:
        ArtifactError: surgeon did not write the folder, or it is a part of one (which the message names).
    """
    if not folder.exists():
        raise ArtifactError(f"{folder} is not there")
    if not folder.is_dir():
        raise ArtifactError(f"{folder} {_why_no_folder(folder)}")
    known = read_manifest(folder)
    if (folder / "manifest.json").is_file() or (known is not None and known.what == "certification"):
        raise ArtifactError(f"{folder} is a part of an evaluation; verify {folder.resolve().parent}")
    if known is not None:
        return known.what
    kind = next((k for name, k in _FILES.items() if (folder / name).is_file()), None)
    if kind == "network" and not _by_surgeon(folder):
        kind = None
    if kind is not None:
        return kind
    above = next((p for p in folder.resolve().parents if read_manifest(p) is not None), None)
    if above is not None:
        raise ArtifactError(f"{folder} is a part of what surgeon wrote; verify {above}")
    raise ArtifactError(f"{folder} was not written by surgeon: there is nothing to verify")


def _why_no_folder(file: Path) -> str:
    """A clause on what a file is that is not a page, and what to verify instead."""
    if file.suffix.lower() in SUFFIXES.values():
        return (
            "is an exported network, which says nothing of where it was made from: an export is compared with "
            "its network when it is written; verify the network's folder"
        )
    if read_manifest(file.resolve().parent) is not None:
        return f"is a file of what surgeon wrote; verify {file.resolve().parent}"
    return "is neither a folder nor a page that surgeon wrote; give one"


def _by_surgeon(folder: Path) -> bool:
    try:
        return "format" in read_mapping(folder / CONFIG)
    except ArtifactError:
        return False


def _evaluation(folder: Path, reader: Reader) -> list[Check]:
    """The checks of an evaluation; inside a run, also the run's links from the network on."""
    above = read_manifest(folder.parent)
    if folder.name == EVALUATION and above is not None and above.what == "run":
        prefix = f"{EVALUATION}/"
        inside = [c for c in run_checks(folder.parent, reader) if c.name.startswith(prefix)]
        return [c.model_copy(update={"name": c.name.removeprefix(prefix)}) for c in inside]
    checks = evaluation_checks(folder, tested_by_name(folder, reader))
    return [*checks, *transfer_checks(folder, reader.allowed)]


def _others(folder: Path, allowed: tuple[str, ...]) -> list[Check]:
    """The checks of other folders, such as a demo's: their files, and the networks in them."""
    checks = [checked("files", lambda: written(folder))]
    for config in sorted(folder.rglob("config.json")):
        if read_manifest(config.parent) is not None:
            place = config.parent.relative_to(folder).as_posix()
            checks += within(place, conversion_checks(config.parent, allowed))
    return checks
