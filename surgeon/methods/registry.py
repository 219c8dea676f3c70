"""Operations by name: those at the doors of this package's rooms, and whatever other packages register.

A third-party package adds its own with an entry point in the group `surgeon.operations`:

    [project.entry-points."surgeon.operations"]
    my-op = "my_package.my_module:MyOperation"

A recipe can only name operations found here, so that reading one never imports a path it contains.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from surgeon.errors import RecipeError, SurgeonError, nearest
from surgeon.methods.base import Operation
from surgeon.results.paper import Paper
from surgeon.settings_faults import describe as describe
from surgeon.strict import shown
from surgeon.warned import warn

GROUP = "surgeon.operations"


@functools.cache
def _shipped() -> dict[str, type[Operation]]:
    """Import the rooms of this package, and collect their operations by name."""
    operations: dict[str, type[Operation]] = {}
    for info in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if not info.ispkg:
            continue
        room = importlib.import_module(f"surgeon.methods.{info.name}")
        for value in vars(room).values():
            if isinstance(value, type) and issubclass(value, Operation) and "op" in value.model_fields:
                operations[value.model_fields["op"].default] = value
    return operations


@functools.cache
def _points() -> dict[str, list[Any]]:
    """Return the entry points of other packages by name, not yet imported, each package once."""
    by_name: dict[str, dict[tuple[str, str], Any]] = {}
    for point in entry_points(group=GROUP):
        by_name.setdefault(point.name, {}).setdefault((_package(point), point.value), point)
    return {name: list(points.values()) for name, points in by_name.items()}


def _plugged() -> dict[str, Any]:
    """Return the entry points of other packages by name, without those whose name is taken."""
    return {
        name: points[0] for name, points in _points().items() if name not in _shipped() and len(points) == 1
    }


def _package(point: Any) -> str:
    """The package of an entry point, or what it names where the package is not known."""
    return point.dist.name if getattr(point, "dist", None) else str(point.value)


def clashes() -> dict[str, str]:
    """Find the plug-ins that cannot be used since their name is that of another operation.

    Returns:
        A sentence by name, which names the packages and what would work.

    Examples:
        >>> from surgeon.methods.registry import clashes
        >>> clashes().get("kap", "")
        ''
    """
    clashing = {}
    for name, points in sorted(_points().items()):
        packages = " and ".join(sorted(_package(p) for p in points))
        if name in _shipped():
            clashing[name] = (
                f"{packages} has an operation {shown(name)} too, which is passed over: {shown(name)} is surgeon's own; "
                f"rename it in the entry points ({GROUP}) of {packages}"
            )
        elif len(points) > 1:
            clashing[name] = (
                f"{packages} each have an operation {shown(name)}, and neither is taken: rename one in the entry "
                f"points ({GROUP}) of its package, or uninstall one"
            )
    return clashing


def names() -> tuple[str, ...]:
    """List the names of all operations, shipped and plugged in.

    Returns:
        The names, sorted.

    Examples:
        >>> from surgeon.methods import names
        >>> "kap" in names()
        True
    """
    return tuple(sorted({*_shipped(), *_plugged()}))


def get(name: str) -> type[Operation]:
    """Return the class of an operation.

    Args:
        name: Its registered name.

    Returns:
        The class; its fields are the operation's settings.

    Raises:
        RecipeError: The name is unknown (the nearest names are given), or the plug-in cannot be
            loaded, or is no Operation.

    Examples:
        >>> from surgeon.methods import get
        >>> get("kap").model_fields["kernel_size"].default
        3
    """
    if name in _shipped():
        if name in clashes():
            warn(clashes()[name])
        return _shipped()[name]
    if name in _plugged():
        point = _plugged()[name]
        try:
            operation = point.load()
        except Exception as error:  # a package's own code runs on import, and may raise anything
            text = " ".join(str(error).split())[:200]
            raise RecipeError(
                f"the plug-in {name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {text}"
            ) from error
        if not (isinstance(operation, type) and issubclass(operation, Operation)):
            raise RecipeError(f"the plug-in {name!r} ({point.value}) is not a surgeon.Operation")
        return operation
    if name in clashes():
        raise RecipeError(clashes()[name])
    raise RecipeError(f"unknown operation {shown(name)}; {nearest(name, names())}")


def distribution_of(name: str) -> tuple[str, str] | None:
    """Return the distribution that registers an operation, and its version.

    Args:
        name: The operation's name.

    Returns:
        Name and version; None for an operation of surgeon's own, and where they are not known.
    """
    point = None if name in _shipped() else _plugged().get(name)
    dist = getattr(point, "dist", None)
    return None if dist is None else (dist.name, dist.version)


def papers() -> dict[str, Paper]:
    """Return the papers that the operations were published in.

    Returns:
        The papers by name, sorted.
    """
    by_name = {p.name: p for p in (get(name).paper() for name in names()) if p is not None}
    return dict(sorted(by_name.items()))


def parse(settings: Mapping[str, Any]) -> Operation:
    """Make the operation that a mapping describes.

    Args:
        settings: The key `op` is the operation's name; the others are its settings.

    Returns:
        The operation.

    Raises:
        RecipeError: A key is missing, unknown (the nearest keys are given) or has an invalid value.
        SurgeonError: The operation's own validators raise it.

    Examples:
        >>> from surgeon.methods import parse
        >>> parse({"op": "kap", "kernel_size": 5}).kernel_size
        5
    """
    if "op" not in settings:
        raise RecipeError(f"an operation needs the key 'op': one of {', '.join(names())}")
    name = str(settings["op"])[:80]
    cls = get(name)
    try:
        return cls.model_validate(dict(settings))
    except ValidationError as error:
        raise RecipeError(f"operation {name!r}: {describe(error, cls)}") from None
    except SurgeonError as error:  # a validator of another package need not raise ValueError
        error.at(f"operation {name!r}")
        raise
