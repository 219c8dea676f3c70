"""The skeleton of an operation: a package with its entry points, or a room in a checkout of surgeon."""

from __future__ import annotations

import importlib.util
import keyword
import re
from collections.abc import Mapping
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from string import Template

from surgeon.disk.files import resolved, write_text
from surgeon.disk.writing import make_folder
from surgeon.errors import ArgumentError, either
from surgeon.methods.registry import names
from surgeon.recipe import available
from surgeon.strict import shown

_NAME = re.compile(r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")
_MARK = ".in"


def new_operation(name: str, folder: Path, *, inside: bool = False) -> tuple[Path, ...]:
    """Write an operation that passes its own tests: a package that installs with pip, or a room of surgeon's own.

    Args:
        name: Name of the operation, such as "my-op": small letters, digits and hyphens.
        folder: Where to write. For a package it may exist if it is empty; for a room it is a checkout of surgeon.
        inside: Whether to write a room: `surgeon/methods/<name>/`, recipe, slow reference and test, each where it
            belongs. Its page on the site is made from its text.

    Returns:
        The files that were written.

    Raises:
        ArgumentError: The name is not of that form, belongs to an operation, a recipe, a Python package or a file
            that is there, or is a word of Python's; or the folder is not empty, or no checkout.
        WritingError: A file cannot be written; nothing stays of the others.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> written = new_operation("my-op", Path(tempfile.mkdtemp()) / "my-op")
        >>> sorted(path.name for path in written)[:3]
        ['README.md', '__init__.py', 'layer.py']
    """
    package = name.replace("-", "_")
    if not _NAME.match(name) or keyword.iskeyword(package):
        raise ArgumentError(
            f"{shown(name)} cannot name an operation; write small letters, digits and hyphens: my-op"
        )
    if name in names() or name in available():
        raise ArgumentError(f"there is an operation or a recipe {name!r} already; choose another name")
    folder = resolved(folder)
    (_demand_checkout if inside else _demand_new)(folder, package)
    said = "".join(part.capitalize() for part in name.split("-"))
    words = {
        "name": name,
        "package": package,
        "cls": f"{said}Operation",
        "layer": f"{said}Layer",
        "title": name.replace("-", " ").capitalize(),
    }
    templates = Path(str(files(__package__))) / ("room" if inside else "operation")
    texts = {
        folder / _placed(source.relative_to(templates), name, package): source.read_text("utf-8")
        for source in sorted(p for p in templates.rglob(f"*{_MARK}") if p.is_file())
    }
    if there := next((target for target in texts if target.exists()), None):
        raise ArgumentError(f"{there} is there already; choose another name")
    _write({target: Template(text).substitute(words) for target, text in texts.items()})
    return tuple(texts)


def _write(texts: Mapping[Path, str]) -> None:
    """Write all files, or none: of a writing that fails nothing stays."""
    new: list[Path] = []
    try:
        for target, text in texts.items():
            absent = list(takewhile(lambda p: not p.exists(), target.parents))
            new += reversed(absent)
            make_folder(target.parent)
            new.append(target)
            write_text(target, text)
    except BaseException:
        for path in reversed(new):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
        raise


def _demand_new(folder: Path, package: str) -> None:
    """Raise ArgumentError where a package cannot be written."""
    if importlib.util.find_spec(package) is not None:
        raise ArgumentError(f"there is a Python package {package!r} already; choose another name")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArgumentError(f"{folder} exists and is not an empty folder; choose another one")


def _demand_checkout(folder: Path, package: str) -> None:
    """Raise ArgumentError where a room cannot be written."""
    methods = folder / "surgeon" / "methods"
    lacking = [p for p in (methods / "registry.py", folder / "recipes", folder / "tests") if not p.exists()]
    if lacking:
        raise ArgumentError(
            f"{folder} is not a checkout of surgeon: it has no {lacking[0].relative_to(folder)}; run this in one, or "
            "give " + either("it as folder", "it with -o")
        )
    if (methods / f"{package}.py").exists() or (methods / package).exists():
        raise ArgumentError(f"there is a file {package!r} in surgeon/methods already; choose another name")


def _placed(template: Path, name: str, package: str) -> Path:
    """Where the file of a template belongs."""
    known = {
        "package": package,
        "room": f"surgeon/methods/{package}",
        "recipe.yaml": f"{name}.yaml",
        "reference.py": f"{package}.py",
        "test_operation.py": f"test_{package}.py",
        "test_room.py": f"test_{package}.py",
    }
    return Path(
        *(known.get(part, part) for part in (*template.parts[:-1], template.name.removesuffix(_MARK)))
    )
