"""Files of weights: which kind one is, by its name and by how it begins, and what it holds. Nothing in it is run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surgeon.disk.sums import altered
from surgeon.errors import ArtifactError, ArtifactWarning
from surgeon.warned import warn

PICKLED = (".pth", ".pt", ".th", ".bin", ".ckpt", ".tar")
"""How names of files of torch.save end."""


def held_in(path: Path) -> Any:
    """Return what a file of weights holds.

    A file of safetensors, which has tensors alone, is read under the other kind's names too; a file of torch.save is
    read under its own names alone.

    Args:
        path: The file.

    Returns:
        Its tensors by name, or whatever torch.save was given.

    Raises:
        ArtifactError: The file is of an unknown kind, damaged, or holds objects beside tensors.
    """
    kind = path.suffix.lower()
    if kind not in (".safetensors", *PICKLED):
        raise ArtifactError(
            f"{path}: unknown kind {path.suffix!r}; readable are .safetensors, {', '.join(PICKLED)}"
        )
    return tensors_in(path) if kind == ".safetensors" or _begins_as_safetensors(path) else _pickled(path)


def tensors_in(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by their names in it.

    Args:
        path: the file, which is mapped.

    Raises:
        ArtifactError: the file is damaged, or of another kind.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        if _begins_as_torch(_first(path)):
            raise ArtifactError(
                f"{path} begins as a file of torch.save, and not of safetensors: call it {path.stem}.pth where it is "
                "one, or save its tensors by safetensors.torch.save_file"
            ) from error
        raise ArtifactError(f"{path} is damaged or no safetensors file: {error}") from error


def _first(path: Path, number: int = 9) -> bytes:
    """How a file begins; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(number)
    except OSError:
        return b""


def _begins_as_torch(begins: bytes) -> bool:
    """Whether a file begins as torch.save writes one, in its present form or in the one before."""
    return begins[:2] in (b"PK", b"\x80\x02")


def _begins_as_safetensors(path: Path) -> bool:
    """Whether a file begins with a header of safetensors: its length, within the file, and a brace."""
    begins = _first(path)
    return begins[8:] == b"{" and 8 + int.from_bytes(begins[:8], "little") <= path.stat().st_size


def _pickled(path: Path) -> Any:
    try:
        if record := altered(path):
            # Files of which torch was told to write no sums have wrong ones, and nothing else wrong.
            warn(
                f"{path}: {record} has other bytes than its sum says: the file is damaged, or was written without sums "
                "(torch.serialization.set_crc32_options); fetch it again, or load it and save it once more",
                ArtifactWarning,
            )
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        text = " ".join(str(error).split())
        if "Unsupported" in text or "GLOBAL" in text or "not an allowed global" in text:
            at = text.find("GLOBAL")
            if at < 0:
                raise ArtifactError(
                    f"{path} is damaged, or holds objects beside tensors; nothing in it was "
                    "executed. Save the state dict "
                    f"alone, as tensors"
                ) from error
            what = text[at + 7 :].split(" ")[0]
            raise ArtifactError(
                f"{path} holds pickled code or objects ({what}) beside tensors; it was not executed. Save the state "
                f"dict alone, as tensors"
            ) from error
        raise ArtifactError(_unreadable(path)) from error
    except Exception as error:  # on damaged bytes torch's reader raises almost anything
        raise ArtifactError(_unreadable(path)) from error


def _unreadable(path: Path) -> str:
    """Say what is wrong with a file that torch cannot read, by its size and how it begins."""
    try:
        with path.open("rb") as file:
            begins = file.read(2)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    if not begins:
        return f"{path} is empty"
    if begins[:1] == b"\x80" or begins == b"PK":
        return f"{path} is damaged or no checkpoint: it begins as one of torch, and cannot be read to its end"
    return f"{path} is damaged or no checkpoint: it begins as no file of torch.save"
