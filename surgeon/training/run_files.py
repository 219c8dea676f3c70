"""The files of a training besides its checkpoint: metrics as CSV and for TensorBoard, and weights."""

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


class RunFiles:
    """The files of a training. TensorBoard's are written if the package is installed.

    Args:
        folder: The training's folder; None to write nothing.
        fields: Columns of the metrics, the epoch first.
        writes: Whether this process writes.
    """

    def __init__(self, folder: Path | None, fields: Sequence[str], writes: bool) -> None:
        self.folder = folder if writes else None
        self.fields = fields
        self.board: Board | None = None

    def begin(self, rows: Sequence[tuple]) -> None:
        """Start, or continue after `rows`.

        What an interrupted run wrote after them is removed.

        Args:
            rows: Figures of the finished epochs.
        """
        if self.folder is None:
            return
        make_folder(self.folder)
        if rows:
            # An interruption may have come between the checkpoint and the metrics: write them again.
            write_csv(self.folder / METRICS, self.fields, rows)
        if importlib.util.find_spec("tensorboard"):
            self.board = Board(self.folder / BOARD, len(rows))

    def epoch(self, rows: Sequence[Any]) -> None:
        """Write the figures after an epoch.

        Args:
            rows: Figures of all epochs so far.
        """
        if self.folder is None:
            return
        write_csv(self.folder / METRICS, self.fields, rows)
        if self.board is not None:
            named = zip(self.fields[1:], rows[-1][1:], strict=True)
            self.board.add(rows[-1][0], {field: value for field, value in named if value == value})

    def weights(self, name: str, state: dict[str, Tensor]) -> None:
        """Write weights as safetensors.

        Args:
            name: Name of the file.
            state: A state dict.
        """
        if self.folder is not None:
            write_weights(self.folder / name, state)

    def close(self) -> None:
        """Close the files."""
        if self.board is not None:
            self.board.close()


def write_weights(path: Path, state: dict[str, Tensor]) -> None:
    """Write a state dict as a safetensors file; extra state that is not a tensor is left out.

    Args:
        path: The file.
        state: The state dict.

    Raises:
        WritingError: The file cannot be written.
    """
    from safetensors.torch import save_file

    with written(path) as beside:
        save_file(in_tensors(state), str(beside))


def copied(model: nn.Module) -> dict[str, Tensor]:
    """Copy the state dict of a model to the CPU.

    Args:
        model: The network.

    Returns:
        The copy, which shares no memory with the model.
    """
    return {
        k: v.detach().to("cpu", copy=True).contiguous() if isinstance(v, Tensor) else copy.deepcopy(v)
        for k, v in model.state_dict().items()
    }
