"""The skeleton of a package with an operation of one's own: layer, operation, recipe, test and entry point."""

from __future__ import annotations

import importlib.util
import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template

from surgeon.disk.files import resolved
from surgeon.errors import ArgumentError
from surgeon.methods.registry import names
from surgeon.recipe import available
from surgeon.strict import shown

_NAME = re.compile(r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")
_MARK = ".in"


def new_operation(name: str, folder: Path) -> tuple[Path, ...]:
    """Write a package with an operation, which installs with pip and passes its own tests.

    Args:
        name: Name of the operation, such as "my-op": small letters, digits and hyphens.
        folder: Where to write. It may exist if it is empty.

    Returns:
        The files that were written.

    Raises:
        ArgumentError: The name is not of that form, belongs to an operation, a recipe or a Python package that is
            there, or is a word of Python's; or the folder is not empty.

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
    if importlib.util.find_spec(package) is not None:
        raise ArgumentError(f"there is a Python package {package!r} already; choose another name")
    folder = resolved(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArgumentError(f"{folder} exists and is not an empty folder; choose another one")
    words = {
        "name": name,
        "package": package,
        "cls": "".join(part.capitalize() for part in name.split("-")) + "Operation",
    }
    templates = Path(str(files(__package__))) / "operation"
    written = []
    for source in sorted(p for p in templates.rglob(f"*{_MARK}") if p.is_file()):
        target = folder / _placed(source.relative_to(templates), name, package)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(source.read_text("utf-8")).substitute(words), "utf-8")
        written.append(target)
    return tuple(written)


def _placed(template: Path, name: str, package: str) -> Path:
    """Where the file of a template belongs in the new package."""
    known = {"package": package, "recipe.yaml": f"{name}.yaml", "test_operation.py": f"test_{package}.py"}
    return Path(
        *(known.get(part, part) for part in (*template.parts[:-1], template.name.removesuffix(_MARK)))
    )
