"""Files that hold a network as a program, which are no checkpoints: ONNX, torch.export, TorchScript."""

from __future__ import annotations

import zipfile
from pathlib import Path

from surgeon.errors import ArtifactError

_ENDINGS = {".onnx": "an ONNX file", ".pt2": "a file of torch.export"}


def kind_of_export(path: Path) -> str:
    """Say what kind of program a file is, by its ending, or by what lies in it.

    Args:
        path: the file.

    Returns:
        Such as "an ONNX file"; empty for every other file.
    """
    if kind := _ENDINGS.get(path.suffix.lower()):
        return kind
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return ""
    inside = {*names, *(name.partition("/")[2] for name in names)}  # most have a folder around all
    if inside & {"archive_format", "serialized_exported_program.json"}:
        return "a file of torch.export"
    return "a TorchScript file" if any(name.startswith("code/") for name in inside) else ""


def demand_no_export(path: Path) -> None:
    """Check that a file is not an exported network.

    Args:
        path: the file.

    Raises:
        ArtifactError: it is one.
    """
    if kind := kind_of_export(path):
        raise ArtifactError(
            f"{path} is {kind}, an export and no checkpoint: it runs elsewhere, and cannot be taken back; give the "
            "weights that it was made of, or the folder that surgeon wrote of the network"
        )
