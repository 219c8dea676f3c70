"""JSON from a file that somebody else may have written: read within limits, or refused in one line. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from surgeon.errors import ArtifactError
from surgeon.strict import faults

LIMIT = 32 * 2**20
"""Bytes of a file. Nesting ends at 200 levels, which is pydantic's own limit."""

Model = TypeVar("Model", bound=BaseModel)


def read_json(path: str | Path) -> Any:
    """What a file of JSON holds. Raises ArtifactError, naming the file, where it is missing, too large or damaged."""
    path = Path(path)
    try:
        if not path.is_file():
            raise ArtifactError(f"{path} is missing, or is no file")
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    return parse_json(content, str(path))


def parse_json(content: str | bytes, place: str) -> Any:
    """What a text of JSON says. Raises ArtifactError, naming its `place`, where it is none, too long or nested too deep."""
    if len(content) > LIMIT:
        raise ArtifactError(f"{place} cannot be read: it is larger than {LIMIT >> 20} MiB")
    try:
        return from_json(content)
    except ValueError as error:
        raise ArtifactError(f"{place} cannot be read: {' '.join(str(error).split())[:200]}") from error


def read_mapping(path: str | Path) -> dict[str, Any]:
    """As `read_json`, of a file that holds a mapping."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} cannot be read: it holds {type(content).__name__}, not a mapping")
    return content


def read_as(path: str | Path, model: type[Model]) -> Model:
    """As `read_json`, of a file that holds a `model`."""
    return as_model(read_json(path), model, str(path))


def as_model(content: Any, model: type[Model], place: str) -> Model:
    """What was read, as a `model`. Raises ArtifactError, naming its `place`, where it is none."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ArtifactError(f"{place} cannot be read: {faults(error)}") from error
