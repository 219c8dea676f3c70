"""The errors that surgeon raises.

    SurgeonError(Exception)
    ├── ArgumentError        an argument or option: of the wrong type, out of range, or a name that is not known
    ├── MissingPackageError  a package that an extra of surgeon installs is not there
    ├── RecipeError          a recipe, an operation's settings or the registry
    ├── SelectionError       a selector that matches nothing, or nothing usable
    ├── LayerError           a layer's sizes or settings
    ├── TraceError           a model, or a part of it, that torch.fx cannot follow
    ├── SurgeryError         a cut that cannot be made (twice, on another model, too large)
    │   └── FoldError        edits that do not fold into stock modules
    ├── ModelError           a model's name or arguments, or a model in a state that nothing can be done with
    ├── ArtifactError        a file or folder: missing, truncated, malicious, mismatched
    │   └── WritingError     a file that could not be written: a full disk, no permission
    ├── ExportError          a network that torch cannot write as ONNX or torch.export
    ├── DataError            a data set, images or labels that cannot be used
    ├── TrainingError        a training that cannot begin or go on: a loss that is not finite, a foreign optimizer
    ├── EvaluationError      an evaluation that this model cannot have
    │   └── AttackError      an attack that needs another model or other images
    ├── PictureError         a picture that cannot be drawn of this network
    └── VerificationError    a rewritten model that does not do what its plan says

Every message names the value, the place and what would work, in the words of the interface in use (`either`); the
command line prints it in one line (`line_of`).

None of them is a ValueError: code that expects one from a library does not hide them. A pydantic validator must raise
ValueError, so one that calls code of surgeon turns its errors into that (`as_value_errors`).
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Self

_COMMAND_LINE: ContextVar[bool] = ContextVar("command line", default=False)


class SurgeonError(Exception):
    """Base of all errors raised on purpose by surgeon.

    A subclass may take any arguments: an error is never made a second time. `at` and `advising` add to the one there
    is, and a copy (pickle, copy.copy) has its attributes without a call of `__init__`.
    """

    _places: tuple[str, ...] = ()
    _advice: tuple[str, ...] = ()

    def at(self, place: str) -> Self:
        """The same error, whose message says where it was raised: `place: message`."""
        self._places = (place, *self._places)
        return self._told(place)

    def advising(self, advice: str) -> Self:
        """The same error, whose message says at its end what may help: `message; advice`."""
        self._advice = (*self._advice, advice)
        return self._told(advice)

    def __str__(self) -> str:
        return "; ".join([": ".join([*self._places, super().__str__()]), *self._advice])

    def _told(self, text: str) -> Self:
        if text not in str(self):  # a subclass has a __str__ of its own
            self.add_note(text)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args), self.__dict__


def _again(cls: type[SurgeonError], args: tuple[Any, ...]) -> SurgeonError:
    """An error with these `args`, whatever its class's `__init__` takes."""
    made = cls.__new__(cls, *args)
    made.args = args
    return made


class ArgumentError(SurgeonError):
    """An argument or an option is of the wrong type, out of range, or a name that is not known."""


class MissingPackageError(SurgeonError):
    """A package that one of surgeon's extras installs is not there; the message names the extra."""


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
    """A model's name or arguments are wrong, or nothing can be done with a model in the state that it is in."""


class ArtifactError(SurgeonError):
    """A checkpoint or folder is missing, damaged, unsafe or of another model."""


class WritingError(ArtifactError):
    """A file could not be written whole; what the message says was kept is there."""


class ExportError(SurgeonError):
    """torch cannot write the network in the format that was asked for."""


class DataError(SurgeonError):
    """A data set, images or labels are missing or malformed."""


class TrainingError(SurgeonError):
    """A training cannot begin or go on: its loss is not finite, or its optimizer is of another network."""


class EvaluationError(SurgeonError):
    """This model cannot have the evaluation that was asked for."""


class AttackError(EvaluationError):
    """An attack needs a model of more classes, or other images."""


class PictureError(SurgeonError):
    """A picture cannot be drawn of this network: it lacks the layers, or their maps, that would be shown."""


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


def located(error: Exception, place: str) -> None:
    """Say of any error where it was raised: in the message of a SurgeonError, in a note of another."""
    if isinstance(error, SurgeonError):
        error.at(place)
    else:
        error.add_note(place)


def line_of(error: BaseException) -> str:
    """An error in one line, with its notes; its class where it says nothing."""
    told = [str(error) or type(error).__name__, *getattr(error, "__notes__", [])]
    return " ".join("; ".join(told).split())


@contextlib.contextmanager
def as_value_errors() -> Iterator[None]:
    """Inside, in a pydantic validator, a SurgeonError becomes the ValueError that pydantic tells with its place."""
    try:
        yield
    except SurgeonError as error:
        raise ValueError(line_of(error)) from error


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
