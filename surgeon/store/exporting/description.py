"""Metadata of an exported file: written and read."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from surgeon import __version__
from surgeon.edits import Plan
from surgeon.errors import ArtifactError, SurgeonError
from surgeon.models.facts import name_of, normalization_of, num_classes_of
from surgeon.models.preparation import resizing_of
from surgeon.reading import parse_json
from surgeon.store.exporting.request import SUFFIXES, need
from surgeon.store.exporting.seal import intact
from surgeon.surgery.door import Subject

METADATA = "surgeon.json"
"""The extra file with the metadata in an exported program; an ONNX file has `metadata_props`."""


def described(subject: Subject, left: Plan | None, size: tuple[int, ...]) -> dict[str, Any]:
    """Collect the metadata of a network to be exported.

    Args:
        subject: the network before folding.
        left: the record of the surgery that is left in the file; None if all of it folded.
        size: (C, H, W) of one image.

    Returns:
        A mapping that JSON can hold, as `metadata` reads it back.
    """
    import timm

    model, record = subject.model, subject.past
    normal = normalization_of(model)
    known: dict[str, Any] = {
        "architecture": name_of(model),
        "input_size": list(size),
        "mean": list(normal[0]) if normal else None,
        "std": list(normal[1]) if normal else None,
        "resizing": resizing_of(model),
        "num_classes": num_classes_of(model),
        "recipe": record.recipe if record else None,
        "surgery": None,
        "versions": {"surgeon": __version__, "torch": torch.__version__, "timm": timm.__version__},
    }
    if record:
        known["surgery"] = {
            "operations": record.operations,
            "seed": record.seed,
            "edits": len(record.edits),
            "edits_left": len(left.edits) if left else 0,
            "fingerprint": record.fingerprint,
        }
    return known


def metadata(path: str | Path) -> dict[str, Any]:
    """Read the metadata of an exported file.

    Args:
        path: a file that `surgeon.export` wrote. It is not run.

    Returns:
        Architecture, sizes, normalisation, versions and a summary of the surgery.

    Raises:
        ArtifactError: surgeon did not export the file.

    Examples:
        >>> import surgeon.store.exporting as exporting
        >>> exporting.metadata("network.onnx")["architecture"]  # doctest: +SKIP
        'resnet18'
    """
    path = Path(path)
    try:
        if path.suffix == SUFFIXES["onnx"]:
            need(["onnx"], "onnx")
            import onnx

            props = {p.key: p.value for p in onnx.load(path, load_external_data=False).metadata_props}
            text = props["surgeon"]
        else:
            # Read this entry only: loading the program would unpickle parts of it.
            with zipfile.ZipFile(path) as archive:
                name = next(n for n in archive.namelist() if n.endswith(f"/extra/{METADATA}"))
                text = archive.read(name).decode()
        return parse_json(text, str(path))
    except SurgeonError:
        raise
    except Exception as error:  # whatever readers of ONNX and of torch raise on another file
        raise ArtifactError(f"{path} is not a file that surgeon exported: {line(error)}") from error


def is_export(path: Path) -> bool:
    """Whether `export` wrote a file, and it is still what was written.

    Args:
        path: the file.
    """
    try:
        metadata(path)
    except SurgeonError:
        return False
    return intact(path)


def line(error: BaseException) -> str:
    """The text of an error in one line, at most 300 characters.

    Args:
        error: the error.
    """
    return " ".join(str(error).split())[:300] or type(error).__name__
