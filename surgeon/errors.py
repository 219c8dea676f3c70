"""The errors that surgeon raises.

    SurgeonError(ValueError)
    ├── RecipeError         a recipe, an operation's settings or the registry
    ├── SelectionError      a selector that matches nothing, or nothing usable
    ├── LayerError          a layer's sizes or settings
    ├── TraceError          a model, or a part of it, that torch.fx cannot follow
    ├── SurgeryError        a cut that cannot be made (twice, on another model, too large)
    │   └── FoldError       edits that do not fold into stock modules
    ├── ModelError          a model name or its arguments
    ├── ArtifactError       a file or folder: missing, truncated, malicious, mismatched
    │   └── WritingError    a file that could not be written: a full disk, no permission
    ├── DataError           a data set that cannot be used
    └── VerificationError   a rewritten model that does not do what its plan says

Every message names the value, the place and what would work, in the words of the interface in use (`either`); the
command line prints it in one line.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Self

_COMMAND_LINE: ContextVar[bool] = ContextVar("command line", default=False)


class SurgeonError(ValueError):
    """Base of all errors raised on purpose by surgeon."""

    _places: tuple[str, ...] = ()

    def at(self, place: str) -> Self:
        """The same error, whose message says where it was raised: `place: message`."""
        self._places = (place, *self._places)
        return self

    def __str__(self) -> str:
        return ": ".join([*self._places, super().__str__()])


class RecipeError(SurgeonError):
    """A recipe, an operation's settings or the registry of operations is at fault."""


class SelectionError(SurgeonError):
    """A selector matches no site, or only sites the operation cannot use."""


class LayerError(SurgeonError):
    """A layer was given sizes or settings it cannot work with."""


class TraceError(SurgeonError):
    """torch.fx cannot follow the model, or the part of it that must be cut."""


class SurgeryError(SurgeonError):
    """The cut cannot be made on this model."""


class FoldError(SurgeryError):
    """Some edits have no stock equivalent; the message lists them one by one."""


class ModelError(SurgeonError):
    """A model name or its arguments are wrong."""


class ArtifactError(SurgeonError):
    """A checkpoint or folder is missing, damaged, unsafe or of another model."""


class WritingError(ArtifactError):
    """A file could not be written whole; what the message says was kept is there."""


class DataError(SurgeonError):
    """A data set is missing or malformed."""


class VerificationError(SurgeonError):
    """A rewritten model does not do what its plan says."""


class CalibrationWarning(UserWarning):
    """Calibration images that are few or odd, or a start that keeps less than another would."""


class ArtifactWarning(UserWarning):
    """A network that was written, and that no name makes again."""


@contextlib.contextmanager
def at_the_command_line() -> Iterator[None]:
    """Inside, messages speak of commands and options (`either`)."""
    token = _COMMAND_LINE.set(True)
    try:
        yield
    finally:
        _COMMAND_LINE.reset(token)


def either(python: str, command: str) -> str:
    """What to write in a message for the interface in use: `python`, or at the command line `command`."""
    return command if _COMMAND_LINE.get() else python


def nearest(name: str, valid: Iterable[str], count: int = 3) -> str:
    """A clause naming the valid names closest to `name`, for the end of an error message.

    Those that differ in case and punctuation alone come first.
    """
    valid = sorted(set(valid))
    close = [v for v in valid if _letters(v) == _letters(name)][:count]
    close = close or difflib.get_close_matches(name, valid, n=count, cutoff=0.5)
    if not close:
        close = [v for v in valid if name and (name in v or v in name)][:count]
    close = close or difflib.get_close_matches(name.lower(), valid, n=count, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    shown = ", ".join(repr(v) for v in valid[:8]) + (", …" if len(valid) > 8 else "")
    return f"valid: {shown}" if valid else "none exist"


def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
