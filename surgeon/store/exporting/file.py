"""Exporting: asked, prepared, written beside its place, checked, renamed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from surgeon.edits import Plan
from surgeon.errors import VerificationError
from surgeon.host import in_own_state
from surgeon.models.facts import name_of
from surgeon.ownership import new_file
from surgeon.store.exporting.checking import BATCHES, differences, not_checked, run_onnx, run_program
from surgeon.store.exporting.description import described, is_export
from surgeon.store.exporting.request import Format, check_request, need, size_of
from surgeon.store.exporting.writing import write_onnx, write_program
from surgeon.surgery import fold as fold_network
from surgeon.surgery.door import surgery_of
from surgeon.verification import FOLD_TOLERANCE, Check


class Exported(BaseModel):
    """A file that was written, and how far its outputs are from the network's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    format: Format
    opset: int | None = Field(default=None, description="of ONNX's operators; None for an exported program")
    input_size: tuple[int, ...] = Field(description="(C, H, W), or (C, T, H, W)")
    dynamic_batch: bool
    folded: bool = Field(description="whether nothing of a surgery is left in the file")
    edits_left: int = Field(description="edits that do not fold, or were not to be folded")
    bytes: int
    difference: float | None = Field(
        description="largest relative difference of an output, in the 2-norm; None if unchecked"
    )
    check: Check


@in_own_state()
def export(
    model: nn.Module,
    path: str | Path,
    *,
    format: Format = "onnx",
    input_size: Sequence[int] | None = None,
    dynamic_batch: bool = True,
    fold: bool = True,
    check: bool = True,
    overwrite: bool = False,
    opset: int | None = None,
) -> Exported:
    """Write a network, rewritten or stock, as it is in evaluation mode and in 32-bit floats; it is left untouched.

    path: of the file, ending in .onnx or .pt2 as the format has it. input_size: (C, H, W) of one image; by default
    what the network says of itself. dynamic_batch: any number of images at a time; else one. fold: fold what folds
    and export the rest as it is; False exports the layers of the surgery. check: run the file, by onnxruntime or
    by torch, and hold its outputs on seeded images against those of `model` as it was given. opset: version of
    ONNX's operators; by default torch's choice.

    The input is called `images`, (N, *input_size), normalised as the network takes them; a single output `logits`.
    The file carries names, sizes, normalisation, versions and the surgery in short (`surgeon.store.exporting.metadata` reads them).

    Raises ArtifactError for a path that is taken or has another format's ending, VerificationError for a file that
    computes something else (then nothing is written), and ExportError for a network that torch cannot export,
    for a missing package, and for sizes that nobody knows.
    """
    path = Path(path)
    check_request(path, format, opset=opset)
    packages = {"onnx": ["onnx", "onnxscript"], "torch-export": []}[format]
    need([*packages, *(["onnxruntime"] if check and format == "onnx" else [])], format)
    size = size_of(model, input_size)
    network, record = _prepared(model, fold)
    with new_file(path, overwrite=overwrite, ours=is_export) as work:
        write = write_onnx if format == "onnx" else write_program
        known = described(model, record, size)
        number = write(network, work, size, dynamic_batch, opset, known)
        found, difference = not_checked(), None
        if check:
            run = run_onnx(work) if format == "onnx" else run_program(work)
            difference, detail = differences(model, run, size, BATCHES if dynamic_batch else BATCHES[:1])
            found = Check(name="equal", ok=difference <= FOLD_TOLERANCE, detail=detail)
            if not found.ok:
                raise VerificationError(
                    f"{path} was not written: as {format}, this {name_of(model)} gives other outputs ({detail}; "
                    f"{FOLD_TOLERANCE:.0e} is allowed)"
                )
        weight = work.stat().st_size
    return Exported(
        path=str(path), format=format, opset=number, input_size=size, dynamic_batch=dynamic_batch,
        folded=record is None, edits_left=len(record.edits) if record else 0, bytes=weight,
        difference=difference, check=found,
    )  # fmt: skip


def _prepared(model: nn.Module, fold: bool) -> tuple[nn.Module, Plan | None]:
    """A copy to export, on the CPU, in float32 and evaluation mode; and the surgery that is left in it."""
    network = copy.deepcopy(model).cpu().float()  # before folding, whose products a half would round
    if fold and surgery_of(network) is not None:
        network = fold_network(network, partial=True)
    return network.eval().requires_grad_(False), surgery_of(network)
