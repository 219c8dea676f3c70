"""An error in a trace: whose fault it is, and how it reads in one line."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from surgeon.errors import SurgeonError, TraceError


def of_a_layer(error: Exception) -> bool:
    """Whether an error is an inserted layer that refuses its input, and not a fault of the traced code."""
    return isinstance(error, SurgeonError) and not isinstance(error, TraceError)


def one_line(error: Exception) -> str:
    """The error, and the line of the network's own code that it came from."""
    text = " ".join(str(error).split())
    scripted = _SCRIPTED.search(text)
    if scripted:
        return f"TraceError: it calls {scripted[1]}, {_OF_SCRIPT}{_place(error)}"
    return f"{type(error).__name__}: {text[:160]}{_place(error)}"


_SCRIPTED = re.compile(
    r"(\w+\(\)) Expected a value of type .* but instead found type '(?:Sized|Recorded\w*)'"
)
_OF_SCRIPT = (
    "a function that torch.jit.script has compiled, which no graph can be made through: call the Python function "
    "that it was made from, or call it in the forward of a module of its own, which is then kept as it is"
)


def _place(error: Exception) -> str:
    """The line of the network's own code that an error came from; '' if it came from elsewhere."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _ours(f.filename)]
    place = f" (at {Path(frames[-1].filename).name}:{frames[-1].lineno}, {frames[-1].line})" if frames else ""
    return place[:160]


def _ours(file: str) -> bool:
    parts = Path(file).parts
    return "torch" in parts or file.startswith((str(Path(__file__).parents[1]), "<"))
