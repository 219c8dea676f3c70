"""An error in a trace: whose fault it is, and how it reads in one line."""

from __future__ import annotations

import traceback
from pathlib import Path

from surgeon.errors import SurgeonError, TraceError


def of_a_layer(error: Exception) -> bool:
    """Whether an inserted layer refuses its input: no fault of the code that is traced."""
    return isinstance(error, SurgeonError) and not isinstance(error, TraceError)


def one_line(error: Exception) -> str:
    """The error, and the line of the network's own code that it came from."""
    text = " ".join(str(error).split())
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _ours(f.filename)]
    place = f" (at {Path(frames[-1].filename).name}:{frames[-1].lineno}, {frames[-1].line})" if frames else ""
    return f"{type(error).__name__}: {text[:160]}{place[:160]}"


def _ours(file: str) -> bool:
    parts = Path(file).parts
    return "torch" in parts or file.startswith((str(Path(__file__).parents[1]), "<"))
