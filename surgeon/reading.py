"""Read JSON from files that somebody else may have written, within limits. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from surgeon.errors import ArtifactError
from surgeon.strict import faults

LIMIT = 32 * 2**20
"""The most bytes of a file. Nesting is limited to 200 levels by pydantic."""

Model = TypeVar("Model", bound=BaseModel)


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Args:
        path: the file.

    Raises:
        ArtifactError: the file is missing, too large or damaged; the message names it.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise ArtifactError(f"{path} is missing, or is not a file")
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    return parse_json(content, str(path))


def parse_json(content: str | bytes, place: str) -> Any:
    """Parse JSON.

    Args:
        content: the text.
        place: where it comes from, for the message.

    Raises:
        ArtifactError: it is not JSON, too long, or nested too deeply.

    Examples:
        >>> parse_json('{"lr": 0.1}', "settings.json")
        {'lr': 0.1}
    """
    if len(content) > LIMIT:
        raise ArtifactError(f"{place} cannot be read: it is larger than {LIMIT >> 20} MiB")
    try:
        return from_json(content)
    except ValueError as error:
        raise ArtifactError(f"{place} cannot be read: {' '.join(str(error).split())[:200]}") from error


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that holds a mapping.

    Args:
        path: the file.

    Raises:
        ArtifactError: as for `read_json`, or the file holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} cannot be read: it holds {type(content).__name__}, not a mapping")
    return content


def read_as(path: str | Path, model: type[Model]) -> Model:
    """Read a JSON file as a pydantic model.

    Args:
        path: the file.
        model: the model's class.

    Raises:
        ArtifactError: as for `read_json`, or the content does not fit the model.
    """
    return as_model(read_json(path), model, str(path))


def as_model(content: object, model: type[Model], place: str) -> Model:
    """Validate content that was read as a pydantic model.

    Args:
        content: plain data.
        model: the model's class.
        place: where the content comes from, for the message.

    Raises:
        ArtifactError: it does not fit.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ArtifactError(f"{place} cannot be read: {faults(error)}") from error
