"""Which arguments a folder may pass to the code that makes its network.

The arguments in a `config.json` were written by somebody else. Allowed are arguments that the network's
code accepts by name, with plain data as values: numbers, booleans, short words, and lists of them. None of
them can name a file, weights, an address or a download.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import partial
from types import ModuleType
from typing import Any

from surgeon.errors import ArtifactError, nearest
from surgeon.models import own
from surgeon.models.creating import ZOO
from surgeon.models.libraries import TORCHVISION
from surgeon.strict import shown

REFUSED = re.compile(
    r"(pretrained|checkpoint|weights|state_dict|hf|hub|url|file|cache)(_\w*)?"
    r"|custom_load|kwargs_filter|model_name|model_cfg|feature_cfg|progress|pruned|device|dtype"
    r"|scriptable|exportable|no_jit"
)
"""Arguments that state where weights come from, or how and where a network runs, not what it is."""
LARGEST, LARGEST_OF_OWN = 2**16, 2**64
"""Limits of numbers: in libraries' networks they are sizes and counts; in own code they may be seeds."""
_NAME = re.compile(r"[A-Za-z]\w{0,63}")
_WORD = re.compile(r"(?:[\w+\- ]|(?<=\d)\.(?=\d+\b)){0,64}")
_DEEPEST, _MOST = 6, 256
_TAKEN_OUT = re.compile(r"""kwargs\.(?:pop|get|setdefault)\(\s*['"](\w+)['"]""")
_NONE = frozenset({"self", "args", "kwargs", "kwds", "fn", "variant"})
_EVERYWHERE = frozenset(
    {"num_classes", "in_chans", "bn_eps", "bn_momentum", "bn_tf", "features_only", "out_indices"}
)
"""Arguments that timm's builders take for all their networks, whatever a signature says."""


def refusal(architecture: str, args: Mapping[str, Any]) -> dict[str, str]:
    """Find the arguments that a folder may not set. Nothing is imported.

    Args:
        architecture: the network's name.
        args: its arguments, as the folder has them.

    Returns:
        Argument → reason, for each argument that is refused.
    """
    largest = LARGEST_OF_OWN if own.is_own(architecture) else LARGEST
    reasons = {str(k)[:80]: _unfit(k, v, largest) for k, v in args.items()}
    return {k: why for k, why in reasons.items() if why}


def _unfit(name: object, value: object, largest: int) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return "it is not a name of an argument"
    if REFUSED.fullmatch(name):
        return "it says where weights are or how the network runs, and not what it is"
    try:
        _check(value, largest, _DEEPEST, [_MOST])
    except ValueError as error:
        return str(error)
    return ""


def _check(value: object, largest: int, deepest: int, left: list[int]) -> None:
    left[0] -= 1
    if deepest < 0 or left[0] < 0:
        raise ValueError(f"it is nested deeper than {_DEEPEST} levels, or has more than {_MOST} parts")
    if isinstance(value, str):
        if not _WORD.fullmatch(value):
            raise ValueError(
                f"{shown(value)} is not a plain word; a path, an address and a name of weights are refused"
            )
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if not abs(value) <= largest:  # also refuses NaN
            raise ValueError(f"{shown(value)} is not a number up to {largest}")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str) or not _NAME.fullmatch(key) or REFUSED.fullmatch(key):
                raise ValueError(f"the key {shown(key)} may not be set by a folder")
            _check(inner, largest, deepest - 1, left)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check(inner, largest, deepest - 1, left)
    elif value is not None and not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is not plain data")


def check_taken(architecture: str, args: Mapping[str, Any], place: str) -> None:
    """Check that the code of a library's network accepts each argument by name. Own code is not inspected.

    Args:
        architecture: the network's name.
        args: its arguments, as the folder has them.
        place: the configuration, for the message.

    Raises:
        ArtifactError: an argument is not accepted.
    """
    if own.is_own(architecture) or not args:
        return
    known = taken_by(architecture)
    for name in args:
        if known and name not in known:
            raise ArtifactError(
                f"{place}: {architecture} takes no argument {name!r}, so that a folder may not set it; "
                f"{nearest(name, known)}"
            )


@functools.lru_cache(maxsize=256)
def taken_by(architecture: str) -> frozenset[str]:
    """The names of the arguments that the code of a library's network accepts.

    Args:
        architecture: the network's name.

    Returns:
        The names; empty for a network that no library has.
    """
    if architecture.startswith(ZOO):
        return _of_zoo(architecture)
    if architecture.startswith(TORCHVISION):
        import torchvision.models as library

        short = architecture.removeprefix(TORCHVISION)
        if short not in library.list_models():
            return frozenset()
        return _of_code(sys.modules[library.get_model_builder(short).__module__]) | {
            "in_chans"
        }  # `from_torchvision`'s
    import timm

    short = architecture.split(".")[0]
    if not timm.is_model(short):
        return frozenset()
    return _of_code(sys.modules[timm.models.model_entrypoint(short).__module__]) | _EVERYWHERE


def _of_zoo(architecture: str) -> frozenset[str]:
    from surgeon.zoo.registry import ENTRIES

    entry = ENTRIES.get(architecture.removeprefix(ZOO))
    if entry is None:
        return frozenset()
    names = _parameters(entry.build)
    build = entry.build
    if isinstance(build, partial) and "args" in names:  # the entry adapts a library's network
        fitted = str(build.args[0])
        names |= taken_by(TORCHVISION + fitted if build.func.__name__ == "torchvision" else fitted)
    return names - _NONE - {"name", "convolutions"}


@functools.cache
def _of_code(module: ModuleType) -> frozenset[str]:
    """Arguments that a module's networks take by name, its builders pass on, or its code pops from kwargs."""
    from torch import nn

    names = set(_TAKEN_OUT.findall(inspect.getsource(module)))
    for value in vars(module).values():
        if inspect.isclass(value) and (issubclass(value, nn.Module) or is_dataclass(value)):
            own_code = [vars(b).get("__init__") for b in value.__mro__ if b not in (nn.Module, object)]
            names.update(*(_parameters(code) for code in own_code if code))
        elif inspect.isfunction(value) and value.__code__.co_flags & inspect.CO_VARKEYWORDS:
            names |= _parameters(value)
    return frozenset(n for n in names - _NONE if _NAME.fullmatch(n) and not REFUSED.fullmatch(n))


def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return frozenset()
