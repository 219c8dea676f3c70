"""Check what an export is asked for: format, path, size of the images, installed packages."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from surgeon.errors import ArgumentError, ArtifactError, MissingPackageError, either, nearest
from surgeon.surgery.door import Subject

Format = Literal["onnx", "torch-export"]
"""A kind of exported file."""
FORMATS: tuple[str, ...] = get_args(Format)
"""All kinds of exported file."""
SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2"}
"""How the name of an exported file ends, by its kind."""


def _newest() -> int | None:
    """The newest opset of the installed onnx; None without it, which is told elsewhere."""
    try:
        from onnx.defs import onnx_opset_version
    except ImportError:
        return None
    return int(onnx_opset_version())


def check_request(path: Path, format: str, *, opset: int | None) -> None:
    """Check format, path and opset of an export.

    Args:
        path: the file to write.
        format: one of `FORMATS`.
        opset: version of ONNX's operators, 18 or later; None for torch's choice.

    Raises:
        ArgumentError: the format is unknown, or the opset does not apply or is not between 18 and the newest one that
            onnx knows.
        ArtifactError: the path has another format's ending, or is a folder.
    """
    if format not in FORMATS:
        raise ArgumentError(f"unknown format {format!r}; {nearest(str(format), FORMATS)}")
    wanted = SUFFIXES[format]
    if path.suffix != wanted:
        other = [f for f, suffix in SUFFIXES.items() if suffix == path.suffix]
        hint = f", or export as {other[0]}" if other else ""
        raise ArtifactError(
            f"{path} does not end in {wanted}, by which files of {format} are known: write "
            f"{path.with_suffix(wanted)}{hint}"
        )
    if path.is_dir():
        raise ArtifactError(f"{path} is a folder; an export is one file")
    if opset is not None and format != "onnx":
        raise ArgumentError(f"opset={opset} is of ONNX's operators; {format} has no opset")
    if opset is not None and opset < 18:
        raise ArgumentError(f"opset={opset} is older than what torch exports; 18 is the oldest")
    if opset is not None and (newest := _newest()) is not None and opset > newest:
        raise ArgumentError(
            f"opset={opset} is newer than what the installed onnx knows; {newest} is the newest"
        )


def need(packages: Sequence[str], format: str) -> None:
    """Check that packages are installed.

    Args:
        packages: names to import.
        format: the format that needs them, for the message.

    Raises:
        MissingPackageError: one cannot be imported.
    """
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            less = either("; check=False does without", "") if package == "onnxruntime" else ""
            raise MissingPackageError(
                f"format {format} needs {package}: pip install 'fx-surgeon[export]'{less}"
            ) from None


def size_of(subject: Subject) -> tuple[int, ...]:
    """The size of image to export for.

    Args:
        subject: the network as it was admitted.

    Raises:
        ArgumentError: no size is known.
    """
    if subject.size is None:
        raise ArgumentError(
            f"the input size of {type(subject.model).__name__} is not known; give "
            + either(
                "input_size=(C, H, W), for instance (3, 224, 224)", "--input-size, for instance 3,224,224"
            )
        )
    return tuple(int(s) for s in subject.size)
