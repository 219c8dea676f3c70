"""A protocol by its name, from the shipped YAML files, or from a file of one's own."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from surgeon.disk.shipped import shipped_folder
from surgeon.errors import ArgumentError, RecipeError, SurgeonError, nearest
from surgeon.merging import merge
from surgeon.methods.registry import describe
from surgeon.protocol.protocol import Protocol
from surgeon.strict import shown
from surgeon.strict_yaml import mapping_in


def protocol_names() -> tuple[str, ...]:
    """List the shipped protocols.

    Returns:
        Their names, such as `kap/table1`, sorted.

    Raises:
        RecipeError: The folder of the protocols is missing.

    Examples:
        >>> "kap/table1" in protocol_names()
        True
    """
    folder = _folder()
    return tuple(sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml")))


def load_protocol(protocol: str | PathLike[str]) -> Protocol:
    """Load a protocol by name, or from a YAML file.

    A protocol may `extends:` another, by name or by a path from its own folder, and gives the keys that differ;
    mappings are merged key by key.

    Every row is put together once for every budget, so that a setting that does not fit is told here and not
    after hours of training.

    Args:
        protocol: The name or the file.

    Returns:
        The protocol.

    Raises:
        RecipeError: It is unknown, or its content does not fit together; the message names the key.

    Examples:
        >>> load_protocol("kap/table1").rows["NT"].paper["clean"]
        94.89
    """
    path = _find(protocol)
    content = _extended(path, ())
    content.setdefault("name", _name(path))
    try:
        checked = Protocol.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{path.name}: {describe(error, Protocol)}") from None
    for budget in checked.budgets:
        for row in checked.rows_of(budget):
            try:
                checked.recipes_of(row, budget)
            except SurgeonError as error:
                error.at(f"{path.name}: row {row!r} at the budget {budget}")
                raise
    return checked


def check_budget(protocol: Protocol, budget: str) -> None:
    """Refuse a budget that a protocol does not have.

    Args:
        protocol: The protocol.
        budget: The budget's name.

    Raises:
        ArgumentError: It has no budget of this name.

    Examples:
        >>> check_budget(load_protocol("defective/shape"), "fast")
        Traceback (most recent call last):
        ...
        surgeon.errors.ArgumentError: defective/shape has no budget 'fast'; it has ...
    """
    if budget not in protocol.budgets:
        raise ArgumentError(
            f"{protocol.name} has no budget {shown(budget)}; it has {', '.join(protocol.budgets)}"
        )


def _extended(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Read a protocol as plain data, merged over the one that it extends."""
    content = mapping_in(path, "rows")
    parent = content.pop("extends", None)
    if parent is None:
        return content
    beside = path.parent / str(parent)
    target = (beside if beside.is_file() else _find(str(parent))).resolve()
    if target in (*seen, path.resolve()):
        chain = " → ".join(p.name for p in (*seen, path, target))
        raise RecipeError(f"protocols extend one another in a circle: {chain}")
    base = _extended(target, (*seen, path.resolve()))
    base.pop("name", None)
    return dict(merge(base, content))


def _folder() -> Path:
    shipped = shipped_folder("protocols")
    if shipped is None:
        raise RecipeError(
            "the shipped protocols are missing: neither the package nor a checkout has protocols/"
        )
    return shipped


def _find(protocol: str | PathLike[str]) -> Path:
    text = str(protocol)
    if Path(text).suffix in (".yaml", ".yml"):
        if not Path(text).is_file():
            raise RecipeError(
                f"{shown(text)} is not a file; protocols by name are {', '.join(protocol_names())}"
            )
        return Path(text)
    names = protocol_names()
    if text not in names:
        raise RecipeError(f"{shown(text)} is not a protocol; {nearest(text, names)}")
    return _folder() / f"{text}.yaml"


def _name(path: Path) -> str:
    folder = shipped_folder("protocols")
    if folder is not None and path.is_relative_to(folder):
        return path.relative_to(folder).with_suffix("").as_posix()
    return path.stem
