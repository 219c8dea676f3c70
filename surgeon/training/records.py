"""What a training writes beside its checkpoint: metrics as CSV and for TensorBoard, last and best weights."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from surgeon.disk.files import write_csv
from surgeon.disk.writing import make_folder, written
from surgeon.extra_state import in_tensors
from surgeon.training.board import Board

METRICS, LAST, BEST, BOARD = "metrics.csv", "last.safetensors", "best.safetensors", "tensorboard"


class Records:
    """The files of a training in `folder`, or nowhere. TensorBoard's are written where the package is there."""

    def __init__(self, folder: Path | None, fields: Sequence[str], writes: bool) -> None:
        self.folder = folder if writes else None
        self.fields = fields
        self.board: Board | None = None

    def begin(self, rows: Sequence[tuple]) -> None:
        """Start, or go on behind `rows`; what a killed run wrote after them is taken back."""
        if self.folder is None:
            return
        make_folder(self.folder)
        if rows:
            write_csv(self.folder / METRICS, self.fields, rows)  # a kill may have come between the files
        if importlib.util.find_spec("tensorboard"):
            self.board = Board(self.folder / BOARD, len(rows))

    def epoch(self, rows: Sequence[Any]) -> None:
        """An epoch has ended; its figures are the last row."""
        if self.folder is None:
            return
        write_csv(self.folder / METRICS, self.fields, rows)
        if self.board is not None:
            named = zip(self.fields[1:], rows[-1][1:], strict=True)
            self.board.add(rows[-1][0], {field: value for field, value in named if value == value})

    def weights(self, name: str, state: dict[str, Tensor]) -> None:
        """Write weights as safetensors."""
        if self.folder is not None:
            write_weights(self.folder / name, state)

    def close(self) -> None:
        """No more will come."""
        if self.board is not None:
            self.board.close()


def write_weights(path: Path, state: dict[str, Tensor]) -> None:
    """A state dict as a safetensors file; extra state that is no tensor is left out."""
    from safetensors.torch import save_file

    with written(path) as beside:
        save_file(in_tensors(state), str(beside))


def copied(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a model, copied to the CPU."""
    return {
        k: v.detach().to("cpu", copy=True).contiguous() if isinstance(v, Tensor) else copy.deepcopy(v)
        for k, v in model.state_dict().items()
    }
