"""The modules that a surgery put into a network: their classes and plain settings, then and now.

A folder holds the record of the surgery and the weights. The record gives these modules anew, as the surgery left
them; what other code made of them since is found here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType
from typing import Any

from torch import nn

from surgeon.edits import Edit
from surgeon.graph.trees.caches_of_code import made_in_use
from surgeon.graph.trees.paths import has
from surgeon.selection import INPUT

FUNCTIONS = (FunctionType, BuiltinFunctionType)
_PLAIN = (bool, int, float, str, type(None))
_OF_A_RUN = frozenset({"training", "inplace", "grad_checkpointing", "fused_attn", "scriptable", "exportable"})
"""Settings of how a network runs, which leave its outputs as they are."""
_TORCHS = frozenset(vars(nn.Module()))
"""What every module of torch's holds for torch itself."""


@dataclass(frozen=True)
class Implant:
    """A module that a surgery put into a network, or a part of one.

    Attributes:
        kind: Class of the module.
        settings: Names and values of its plain settings.
    """

    kind: str
    settings: tuple[tuple[str, Any], ...]


def settings_of(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the plain values and functions among a module's own attributes.

    Args:
        module: The module.

    Yields:
        Name and value.
    """
    for key, value in vars(module).items():
        if key not in _TORCHS and key not in _OF_A_RUN and (_is_plain(value) or isinstance(value, FUNCTIONS)):
            yield key, value


def fixed_settings(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the plain values among a module's own attributes, but for those that its code sets while it runs.

    Args:
        module: The module.

    Yields:
        Name and value.
    """
    later = made_in_use(type(module))  # type: ignore[arg-type]  # a class has a hash
    yield from (
        (name, value) for name, value in settings_of(module) if name not in later and not callable(value)
    )


def same_setting(one: Any, other: Any) -> bool:
    """Whether two settings are equal; a tuple and a list of the same values are, and NaN is itself.

    Args:
        one: A setting.
        other: A setting.
    """
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(map(same_setting, one, other))
    return bool(one == other) or (one != one and other != other)


def alike(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules are of one class with the same settings, whatever their weights.

    Args:
        one: A module.
        other: A module.
    """
    mine, theirs = dict(settings_of(one)), dict(settings_of(other))
    return (
        type(one) is type(other)
        and mine.keys() == theirs.keys()
        and all(same_setting(mine[k], theirs[k]) for k in mine)
    )


def class_name_of(module: nn.Module) -> str:
    """Name a module's class, with its package unless torch.nn: PEFT has a Conv2d of its own.

    Args:
        module: The module, which parametrizations may have given a class of their own.
    """
    kind = type(module).__bases__[0] if hasattr(module, "parametrizations") else type(module)
    return (
        kind.__name__ if kind.__module__.startswith("torch.nn.") else f"{kind.__module__}.{kind.__qualname__}"
    )


def implants(tree: nn.Module, edits: Iterable[Edit]) -> dict[str, Implant]:
    """Describe the modules that edits put into a network, and all modules in these.

    Args:
        tree: The network.
        edits: The edits.

    Returns:
        The description by dotted name.
    """
    by_name = {}
    for edit in edits:
        for root in roots(edit):
            if has(tree, root):
                for name, module in tree.get_submodule(root).named_modules(prefix=root):
                    plain = tuple((k, v) for k, v in settings_of(module) if not isinstance(v, FUNCTIONS))
                    by_name[name] = Implant(class_name_of(module), plain)
    return by_name


def roots(edit: Edit) -> tuple[str, ...]:
    """The dotted names at which an edit put modules: its layer, and its site where it replaced what was there.

    Args:
        edit: The edit.
    """
    return (
        *([edit.layer] if edit.layer else []),
        *([edit.site] if edit.replaces and edit.site != INPUT else []),
    )


def exchanged(tree: nn.Module, edit: Edit, left: Mapping[str, Implant]) -> tuple[str, str, str] | None:
    """Find a module that an edit put in and that was replaced since.

    Args:
        tree: The network.
        edit: The edit.
        left: What the surgery left, as `implants` describes it.

    Returns:
        (its dotted name, the class that was left, the class that is there), of the first; None if no class changed.
        Parts that are gone do not count: the end of an anneal takes some away.
    """
    for root in roots(edit):
        for name in (n for n in left if n == root or n.startswith(f"{root}.")):
            if has(tree, name) and (now := class_name_of(tree.get_submodule(name))) != left[name].kind:
                return name, left[name].kind, now
    return None


def changed(model: nn.Module) -> dict[str, tuple[Any, Any]]:
    """List the settings of modules that a surgery put in, where they are not what it left.

    Args:
        model: A network, rewritten or stock.

    Returns:
        (the value now, the value that was left) by `module.setting`.
    """
    left: Mapping[str, Implant] = getattr(model.__dict__.get("displaced"), "implants", None) or {}
    differing = {}
    for name, implant in left.items():
        if not has(model, name):
            continue
        module = model.get_submodule(name)
        now = {k: v for k, v in settings_of(module) if not isinstance(v, FUNCTIONS)}
        switched = getattr(module, "switched_by_training", ())  # a layer names what a training sets by itself
        for key, old in implant.settings:
            if (
                key in now
                and key not in switched
                and not key.startswith("_")
                and not same_setting(now[key], old)
            ):
                differing[f"{name}.{key}"] = (now[key], old)
    return differing


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, (tuple, list)) and all(map(_is_plain, value)))
