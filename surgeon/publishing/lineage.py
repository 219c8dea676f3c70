"""The record of what a network was trained on, as it is uploaded: without paths of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from surgeon.errors import ArtifactError
from surgeon.reading import read_json
from surgeon.store.configuration import LINEAGE
from surgeon.store.hub import files_of


@contextlib.contextmanager
def as_published(folder: Path) -> Iterator[Path]:
    """Make a folder to upload in a network's place, where its lineage.json names paths of this machine.

    Args:
        folder: the network's folder. It is not changed.

    Yields:
        A folder with the files that are uploaded; `folder` itself where it has no lineage.json.

    Raises:
        ArtifactError: lineage.json cannot be read.
    """
    if not (folder / LINEAGE).is_file():
        yield folder
        return
    text = without_paths(folder / LINEAGE)
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        for name in files_of(folder):
            if name != LINEAGE:
                _linked((folder / name).resolve(), place / name)
        (place / LINEAGE).write_text(text, encoding="utf-8")
        yield place


def without_paths(path: Path) -> str:
    """The text of a lineage.json in which only the last name of each path is left.

    The images are then recognised by what they hold, as a copy of them is.

    Args:
        path: the file.

    Raises:
        ArtifactError: it cannot be read.
    """
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(o, dict) for o in content):
        raise ArtifactError(f"{path} cannot be read: it does not hold a list of trainings")
    origins: list[dict[str, Any]] = [
        {**o, "place": last_name(o.get("place", "")), "data": last_name(o.get("data", "")), "root": None}
        for o in content
    ]
    return json.dumps(origins, indent=2) + "\n"


def last_name(name: object) -> str:
    """The last name of a path; another name as it is.

    Args:
        name: an absolute path, or the name of a source.
    """
    path = Path(str(name))
    return path.name if path.is_absolute() else str(name)


def _linked(source: Path, target: Path) -> None:
    try:
        os.symlink(source, target)
    except OSError:  # a system on which links need a permission
        shutil.copyfile(source, target)
