"""The errors that surgeon raises.

    SurgeonError(Exception)
    ├── ArgumentError        an argument or option: wrong type, out of range, or an unknown name
    ├── MissingPackageError  a package that one of surgeon's extras installs is missing
    ├── RecipeError          a recipe, an operation's settings or the registry
    ├── SelectionError       a selector that matches nothing, or nothing usable
    ├── LayerError           a layer's sizes or settings
    ├── TraceError           a model, or a part of it, that torch.fx cannot trace
    ├── SurgeryError         a cut that cannot be made (twice, on another model, too large)
    │   └── FoldError        edits that do not fold into stock modules
    ├── ModelError           a model's name or arguments, or a model in an unusable state
    ├── ArtifactError        a file or folder: missing, truncated, malicious, mismatched
    │   └── WritingError     a file that could not be written: disk full, permission denied
    ├── ExportError          a network that torch cannot export
    ├── DataError            a data set, images or labels that cannot be used
    ├── TrainingError        a training that cannot begin or continue: non-finite loss, foreign optimizer
    ├── EvaluationError      an evaluation that does not apply to the model
    │   └── AttackError      an attack that needs another model or other images
    ├── PictureError         a picture that cannot be drawn of this network
    └── VerificationError    a rewritten model that does not do what its plan says

Each message names the value, the place and what would work, in the words of the interface in use
(`either`). The command line prints it in one line (`line_of`).

None of these classes is a ValueError, so that code which catches a library's ValueError does not hide
them. A pydantic validator must raise ValueError; one that calls surgeon's code converts its errors
(`as_value_errors`).
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Self

_COMMAND_LINE: ContextVar[bool] = ContextVar("command line", default=False)


class SurgeonError(Exception):
    """Base class of all errors that surgeon raises on purpose.

    A subclass's `__init__` may take any arguments. `at` and `advising` therefore extend the existing error
    instead of making a new one, and copies (pickle, copy.copy) get its attributes without calling `__init__`.

    Examples:
        >>> import surgeon
        >>> try:
        ...     surgeon.create_model("resnet1800")
        ... except surgeon.SurgeonError as error:
        ...     type(error).__name__
        'ModelError'
    """

    _places: tuple[str, ...] = ()
    _advice: tuple[str, ...] = ()

    def at(self, place: str) -> Self:
        """Put a place in front of the message: `place: message`.

        Args:
            place: where the error occurred, such as a file or a setting.

        Returns:
            The same error.

        Examples:
            >>> print(ArgumentError("eps=2 is too large").at("attack.yaml"))
            attack.yaml: eps=2 is too large
        """
        self._places = (place, *self._places)
        return self._told(place)

    def advising(self, advice: str) -> Self:
        """Add advice to the end of the message: `message; advice`.

        Args:
            advice: what may help.

        Returns:
            The same error.

        Examples:
            >>> print(ArgumentError("eps=2 is too large").advising("write 2/255"))
            eps=2 is too large; write 2/255
        """
        self._advice = (*self._advice, advice)
        return self._told(advice)

    def __str__(self) -> str:
        return "; ".join([": ".join([*self._places, super().__str__()]), *self._advice])

    def _told(self, text: str) -> Self:
        if text not in str(self):  # a subclass may override __str__
            self.add_note(text)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args), self.__dict__


def _again(cls: type[SurgeonError], args: tuple[Any, ...]) -> SurgeonError:
    """Make an error with these `args` without calling its class's `__init__`."""
    made = cls.__new__(cls, *args)
    made.args = args
    return made


class ArgumentError(SurgeonError):
    """An argument or option has the wrong type, is out of range, or is an unknown name.

    Raised before any work begins, for instance: `seed=-1 is not a seed: give a whole number from 0 to
    4,294,967,295`.
    """


class MissingPackageError(SurgeonError):
    """A package that one of surgeon's extras installs is missing; the message names the extra.

    For instance: `the digits come with scikit-learn: pip install 'fx-surgeon[train]'`.
    """


class RecipeError(SurgeonError):
    """A recipe, an operation's settings or the registry of operations is at fault.

    Raised when a recipe is read or a job is planned, for instance: `recipe file my.yaml does not exist; …`.
    """


class SelectionError(SurgeonError):
    """A selector matches no site, or only sites that the operation cannot use.

    Raised when a recipe's `select` is resolved on a model; the message lists near or usable sites.
    """


class LayerError(SurgeonError):
    """A layer was given sizes or settings that it cannot work with.

    Raised when a layer of `surgeon.methods` is created, or called on a tensor of the wrong shape.
    """


class TraceError(SurgeonError):
    """torch.fx cannot trace the model, or the part of it that must be cut.

    Raised by `surgeon.sites`, `plan` and `apply`; the message names the module and the cause.
    """


class SurgeryError(SurgeonError):
    """The cut cannot be made on this model.

    Raised by `surgeon.apply`, `fold`, `revert` and `save`: a second surgery, a record of another model, a
    growth beyond the limit, or a site that was changed afterwards.
    """


class FoldError(SurgeryError):
    """Some edits have no stock equivalent; the message lists them one by one.

    Raised by `surgeon.fold` without `partial=True`.
    """


class ModelError(SurgeonError):
    """A model's name or arguments are wrong, or the model is in a state in which nothing can be done with it.

    For instance: `unknown model 'resnet1800'; did you mean 'resnet18'? (surgeon.models.list_models() lists
    all)`.
    """


class ArtifactError(SurgeonError):
    """A checkpoint or folder is missing, damaged, unsafe, in use, or belongs to another model.

    For instance: `net is incomplete: model.safetensors is missing`.
    """


class WritingError(ArtifactError):
    """A file could not be written completely; the message says what remains.

    For instance: `net/model.safetensors could not be written: No space left on device; nothing of it was kept`.
    """


class ExportError(SurgeonError):
    """torch cannot export the network in the requested format.

    Raised by `surgeon.export`; the message gives torch's reason and what may work.
    """


class DataError(SurgeonError):
    """A data set, images or labels are missing or malformed.

    For instance: `photos has no images (.png, .jpg, .jpeg, .bmp, …)`.
    """


class TrainingError(SurgeonError):
    """A training cannot begin or continue.

    Raised for a non-finite loss, and for an optimizer that holds the parameters of another network.
    """


class EvaluationError(SurgeonError):
    """The requested evaluation does not apply to this model."""


class AttackError(EvaluationError):
    """An attack needs a model with more classes, or other images."""


class PictureError(SurgeonError):
    """A picture cannot be drawn of this network: it lacks the layers, or their maps, that would be shown."""


class VerificationError(SurgeonError):
    """A rewritten model does not do what its plan says, or a file does not compute what its network does.

    Raised by `surgeon.verification.demand` and `surgeon.export`; the message gives the measured difference.
    """


class CalibrationWarning(UserWarning):
    """Calibration images are few or unusual, or another start would preserve more of the function.

    Also where a network is given pixels, and its configuration normalises images.
    """


class SurgeryWarning(UserWarning):
    """Other code did something to a rewritten network that has no effect there, such as a hook on a block.

    Also where a network is used whose annealed layers have a part of their effect.
    """


class ArtifactWarning(UserWarning):
    """A saved network cannot be made again by name alone; `surgeon.load` then needs it as `model=…`.

    Also where a checkpoint has several sets of weights, of which one was taken.
    """


@contextlib.contextmanager
def at_the_command_line() -> Iterator[None]:
    """Inside, messages mention commands and options instead of Python arguments (`either`)."""
    token = _COMMAND_LINE.set(True)
    try:
        yield
    finally:
        _COMMAND_LINE.reset(token)


def located(error: Exception, place: str) -> None:
    """Add to any error where it occurred: in a SurgeonError's message, in a note of another error.

    Args:
        error: the error, changed in place.
        place: where it occurred.
    """
    if isinstance(error, SurgeonError):
        error.at(place)
    else:
        error.add_note(place)


def line_of(error: BaseException) -> str:
    r"""An error in one line, with its notes; its class's name where it has no text.

    Args:
        error: the error.

    Examples:
        >>> line_of(DataError("no images\nfound"))
        'no images found'
    """
    texts = [str(error) or type(error).__name__, *getattr(error, "__notes__", [])]
    return " ".join("; ".join(texts).split())


@contextlib.contextmanager
def as_value_errors() -> Iterator[None]:
    """Inside a pydantic validator, turn a SurgeonError into the ValueError that pydantic reports."""
    try:
        yield
    except SurgeonError as error:
        raise ValueError(line_of(error)) from error


def either(python: str, command: str) -> str:
    """Choose the wording of a message for the interface in use.

    Args:
        python: the wording for Python.
        command: the wording for the command line.

    Examples:
        >>> either("pass overwrite=True", "--overwrite")
        'pass overwrite=True'
        >>> with at_the_command_line():
        ...     either("pass overwrite=True", "--overwrite")
        '--overwrite'
    """
    return command if _COMMAND_LINE.get() else python


def nearest(name: str, valid: Iterable[str], count: int = 3, *, most: int = 8) -> str:
    """A clause with the valid names closest to `name`, for the end of an error message.

    Names that differ only in case and punctuation come first.

    Args:
        name: the unknown name.
        valid: all valid names.
        count: the most names to suggest.
        most: the most names to list where none is close.

    Examples:
        >>> nearest("resnet", ["resnet18", "vgg11"])
        "did you mean 'resnet18'?"
        >>> nearest("zzz", ["kap", "kmp"])
        "valid: 'kap', 'kmp'"
    """
    valid = sorted(set(valid))
    close = [v for v in valid if _letters(v) == _letters(name)][:count]
    close = close or difflib.get_close_matches(name, valid, n=count, cutoff=0.5)
    if not close:
        close = [v for v in valid if name and (name in v or v in name)][:count]
    close = close or difflib.get_close_matches(name.lower(), valid, n=count, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    shown = ", ".join(repr(v) for v in valid[:most]) + (", …" if len(valid) > most else "")
    return f"valid: {shown}" if valid else "none exist"


def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
