"""Export a network: check the request, prepare a copy, write beside the target, compare outputs, rename."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from surgeon import html
from surgeon.edits import Plan
from surgeon.errors import ArtifactWarning, SurgeryWarning, VerificationError, either
from surgeon.graph.measuring.signatures import spared_inputs
from surgeon.host import in_own_state
from surgeon.images import times
from surgeon.methods.annealed import unfinished
from surgeon.models.facts import name_of
from surgeon.models.handed_on import unsaid
from surgeon.ownership import new_file
from surgeon.store.exporting.checking import BATCHES, allowed, differences, not_checked, run_onnx, run_program
from surgeon.store.exporting.description import described, is_export
from surgeon.store.exporting.request import Format, check_request, need, size_of
from surgeon.store.exporting.writing import write
from surgeon.surgery.door import Subject, folding_copy, to_export
from surgeon.surgery.folding import folded
from surgeon.verification import FOLD_TOLERANCE, Check
from surgeon.warned import warn


class Exported(BaseModel):
    """A file that was written, and how far its outputs are from the network's.

    Examples:
        >>> import surgeon
        >>> done = surgeon.export(model, "kap.onnx")  # doctest: +SKIP
        >>> done.path, done.folded, done.difference  # doctest: +SKIP
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    format: Format
    opset: int | None = Field(default=None, description="of ONNX's operators; None for an exported program")
    input_size: tuple[int, ...] = Field(description="(C, H, W), or (C, T, H, W)")
    dynamic_batch: bool
    folded: bool = Field(description="whether nothing of a surgery is left in the file")
    edits_left: int = Field(description="edits that do not fold, or were not to be folded")
    left_out: tuple[str, ...] = Field(
        default=(),
        description="optional inputs that the network's forward may be given, and the file does not take",
    )
    bytes: int
    difference: float | None = Field(
        description="largest relative difference of an output, in the 2-norm; None if unchecked"
    )
    check: Check

    def _repr_html_(self) -> str:
        """The HTML shown in notebooks: what the file is, and how its outputs were compared."""
        rows = [
            ("format", self.format if self.opset is None else f"{self.format}, opset {self.opset}"),
            (
                "images",
                f"{times(self.input_size)}, {'any number' if self.dynamic_batch else 'one'} at a time",
            ),
            ("folded", "yes" if self.folded else f"no: {self.edits_left} edits are left"),
            *([("left out", ", ".join(self.left_out))] if self.left_out else []),
            ("bytes", f"{self.bytes:,}"),
            ("largest difference", "–" if self.difference is None else f"{self.difference:.1e}"),
            (self.check.name, self.check.detail),
        ]
        return html.table(rows, caption=self.path)


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
    """Export a network, rewritten or stock, in evaluation mode and in 32-bit floats.

    The input is called `images`, (N, *input_size), normalised as the network takes it; a single output is
    called `logits`, and those of a mapping in ONNX by its keys. The file carries names, sizes, normalisation,
    versions and a summary of the surgery, which `surgeon.store.exporting.metadata` reads.

    Args:
        model: the network. It is not changed.
        path: the file to write, ending in .onnx or .pt2 as the format requires.
        format: "onnx", or "torch-export" for torch's exported program.
        input_size: (C, H, W) of one image. By default that of the surgery's record, else the network's own.
        dynamic_batch: accept any number of images; False fixes the batch to one.
        fold: fold the edits that fold and export the others as they are; False exports every inserted layer.
        check: run the file, with onnxruntime or torch, on seeded images and compare its outputs with the
            network's. They may differ by 1e-5, or by what rounding is measured to make in this network.
        overwrite: replace a file that surgeon exported there before.
        opset: version of ONNX's operators; by default torch's choice.

    Returns:
        Path, format, sizes and the measured difference.

    Raises:
        ArgumentError: the format is unknown, the opset does not apply, no input size is known, or the network is
            wrapped or compiled by TorchScript.
        ArtifactError: the path is taken, or has the ending of another format.
        MissingPackageError: a package that the format needs is not installed.
        ExportError: torch cannot export the network.
        VerificationError: the file computes something else; it is then not written.

    Warns:
        SurgeryWarning: annealed layers have a part of their effect.
        ArtifactWarning: the network hands images on as they are to one inside it that says how they are normalised, and
            does not say it itself, so that the file does not either.

    Examples:
        >>> import tempfile, surgeon
        >>> rewritten = surgeon.apply(surgeon.create_model("zoo/lenet5"), "kap")
        >>> with tempfile.TemporaryDirectory() as place:
        ...     done = surgeon.export(rewritten, f"{place}/lenet5.pt2", format="torch-export")
        >>> done.format, done.input_size, done.folded
        ('torch-export', (1, 28, 28), True)
        >>> done.difference < 1e-4
        True
    """
    path = Path(path)
    check_request(path, format, opset=opset)
    packages = {"onnx": ["onnx", "onnxscript"], "torch-export": []}[format]
    need([*packages, *(["onnxruntime"] if check and format == "onnx" else [])], format)
    subject = to_export(model, input_size)
    size = size_of(subject)
    if said := unfinished(model):
        warn(said, SurgeryWarning)
    if said := unsaid(model, torch.empty(1, *size)):
        warn(f"{path} says nothing of how images are normalised: {said}", ArtifactWarning)
    network, record = _prepared(subject, fold)
    with new_file(path, overwrite=overwrite, ours=is_export) as work:
        known = described(subject, record, size)
        number = write(network, work, format, size=size, dynamic=dynamic_batch, opset=opset, known=known)
        check_made, difference = not_checked(), None
        if check:
            run = run_onnx(work) if format == "onnx" else run_program(work)
            difference, detail = differences(model, run, size, BATCHES if dynamic_batch else BATCHES[:1])
            limit = FOLD_TOLERANCE
            if difference > limit:
                limit = allowed(model, size, BATCHES if dynamic_batch else BATCHES[:1])
                detail += f"; rounding may make {limit:.1e} in this network"
            check_made = Check(name="equal", ok=difference <= limit, detail=detail)
            if not check_made.ok:
                if record is not None and record.traits.stochastic == "always":
                    raise VerificationError(
                        f"{path} was not written: this {name_of(model)} is random at inference "
                        f"({', '.join(record.operations)}), so that no two runs agree and a file cannot be checked; "
                        + either(
                            "check=False writes it unchecked",
                            "surgeon.export(…, check=False) in Python writes it unchecked",
                        )
                    )
                raise VerificationError(
                    f"{path} was not written: as {format}, this {name_of(model)} gives other outputs ({detail})"
                )
        weight = work.stat().st_size
    return Exported(
        path=str(path),
        format=format,
        opset=number,
        input_size=size,
        dynamic_batch=dynamic_batch,
        folded=record is None,
        edits_left=len(record.edits) if record else 0,
        left_out=tuple(spared_inputs(model)),
        bytes=weight,
        difference=difference,
        check=check_made,
    )


def _prepared(subject: Subject, fold: bool) -> tuple[nn.Module, Plan | None]:
    """A copy to export (CPU, float32, evaluation mode), and the record of the surgery that is left in it."""
    left = subject.record
    # before folding: half precision would round its products
    network = copy.deepcopy(subject.model).cpu().float()
    if fold and left is not None:
        network, left = folded(folding_copy(subject, network), partial=True)
    return network.eval().requires_grad_(False), left
