"""How a network differs from what its name makes: changed settings, exchanged and added modules, pruned channels.

Most such changes leave the names and shapes of all weights as they were (another stride or epsilon, a
pooling layer replaced by an identity). The network made by name would then accept the weights and compute
something else. Settings that are plain data can be written down and set again; a module of another class
cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import nn

from surgeon.errors import ArtifactError
from surgeon.graph.trees.caches_of_code import made_by_forward, made_while_running
from surgeon.graph.trees.implants import FUNCTIONS, same_setting, settings_of
from surgeon.store.added import added_modules, added_tensors
from surgeon.store.looks import digest_of, held_apart, looks, shown
from surgeon.surgery.before import as_before
from surgeon.torch_private import BatchNorm
from surgeon.values import has_values


class Beyond(NamedTuple):
    """How a network differs from what its name makes.

    Attributes:
        settings: `module.name` → plain value, of modules that the name makes too. They can be set again.
        exchanged: module, tensor or setting → a text with what it is and what the name makes. These cannot be
            set again.
    """

    settings: dict[str, Any]
    exchanged: dict[str, str]


def beyond_name(model: nn.Module, made: nn.Module) -> Beyond:
    """Compare a network with the one that its name and arguments make.

    The settings and children of an exchanged module are not listed.

    Args:
        model: the network, before or after surgery.
        made: the network made by name.

    Returns:
        The differences.
    """
    old = dict(made.named_modules(remove_duplicate=False))
    new = dict(as_before(model).named_modules(remove_duplicate=False))
    beyond = Beyond({}, {})
    for name, stock in old.items():
        now = new.get(name)
        # Everything below an exchanged module differs; naming it too would bury the cause.
        if any(_holds(other, name) for other in beyond.exchanged):
            continue
        if not _alike(now, stock):
            beyond.exchanged[name or "the network"] = f"{looks(now)}, not {_called(stock)}"
            continue
        for key, shape, old_shape in _shapes(now, stock):  # type: ignore[arg-type]  # a module, as `_alike` found
            beyond.exchanged[f"{name}.{key}" if name else key] = f"{shape}, not {old_shape}"
        there, kind = dict(settings_of(stock)), type(stock)
        # A class has a hash, which mypy doubts.
        filled = {k for k in made_by_forward(kind) if there.get(k, 0) is None}  # type: ignore[arg-type]
        for key, value in settings_of(now):  # type: ignore[arg-type]  # a module, as above
            if key in there and key not in filled and not same_setting(value, there[key]):
                place = f"{name}.{key}" if name else key
                if can_be_set(value, there[key]):
                    beyond.settings[place] = list(value) if isinstance(value, tuple) else value
                else:
                    beyond.exchanged[place] = f"{shown(value)}, not {shown(there[key])}"
        for key, numbers in _unwritten(now, stock):  # type: ignore[arg-type]  # a module, as above
            beyond.exchanged[f"{name}.{key}" if name else key] = numbers
        for key in _patched(now, stock):  # type: ignore[arg-type]  # a module, as above
            beyond.exchanged[f"{name}.{key}" if name else key] = (
                f"a function of its own, not that of {_called(now)}"
            )
        for key, size in added_tensors(now, stock):  # type: ignore[arg-type]  # a module, as above
            beyond.exchanged[f"{name}.{key}" if name else key] = f"{size}, which its name does not make"
    for name, module in added_modules(new, old):
        if not any(_holds(other, name) for other in beyond.exchanged):
            beyond.exchanged[name] = f"{looks(module)}, which its name does not make"
    return beyond


def set_again(made: nn.Module, settings: Mapping[str, Any], place: str) -> None:
    """Set the stored settings on a network that was made by name.

    Args:
        made: the network, changed in place.
        settings: `module.name` → plain value, as in `Beyond.settings`.
        place: the file that holds the settings, for an error message.

    Raises:
        ArtifactError: the network lacks the setting, or holds a value of another kind there.
    """
    for path, value in settings.items():
        owner, _, key = path.rpartition(".")
        try:
            module = made.get_submodule(owner)
        except AttributeError:
            raise ArtifactError(f"{place}: the network has no module {owner!r} to set {key} of") from None
        there = dict(settings_of(module))
        if key not in there or not can_be_set(value, there[key]):
            raise ArtifactError(
                f"{place}: {path} cannot be set to {shown(value)} on a {type(module).__name__}"
            )
        setattr(module, key, tuple(value) if isinstance(there[key], tuple) else value)


def _holds(module: str, name: str) -> bool:
    return module == "the network" or name.startswith(f"{module}.")


def _alike(now: nn.Module | None, old: nn.Module) -> bool:
    """Whether two modules are of one class; SyncBatchNorm counts as the batch norm that it was made from."""
    both = BatchNorm
    return type(now) is type(old) or (isinstance(now, nn.SyncBatchNorm) and isinstance(old, both))


def _shapes(now: nn.Module, old: nn.Module) -> Iterator[tuple[str, str, str]]:
    """Tensors that differ in shape between two modules or that one of them lacks, as pruning leaves them.

    What no file holds, and the module's code makes again for an input of another size, is left out.
    """
    here, there = ({**m._parameters, **m._buffers} for m in (now, old))
    again = made_while_running(type(now))  # type: ignore[arg-type]  # a class has a hash
    caches = now._non_persistent_buffers_set & again
    for key in (k for k in there if k not in caches):
        shapes = [
            str(tuple(v.shape)) if (v := own.get(key)) is not None else "nothing" for own in (here, there)
        ]
        if shapes[0] != shapes[1] and not key.startswith("_"):
            yield key, shapes[0], shapes[1]


def _unwritten(now: nn.Module, old: nn.Module) -> Iterator[tuple[str, str]]:
    """Tensors that no file holds (not persistent buffers, plain attributes), where their numbers are others."""
    here, there = (held_apart(m) for m in (now, old))
    for key in there:
        one, other = here.get(key), there[key]
        if one is None or one.shape != other.shape or not (has_values(one) and has_values(other)):
            continue
        if not torch.equal(one.cpu(), other.to(device="cpu", dtype=one.dtype)):
            yield key, f"numbers of its own ({digest_of(one)}), which no file holds"


def _called(module: nn.Module | None) -> str:
    return "nothing" if module is None else type(module).__name__


def _patched(module: nn.Module, old: nn.Module) -> Iterator[str]:
    """The methods that a module has for itself in place of its class's, which no name makes.

    Those that accelerate puts around a forward, for precision or devices, compute what that computes.
    """
    own = vars(module)
    for key, value in own.items():
        if key.startswith("_") or key in vars(old) or not isinstance(value, (*FUNCTIONS, MethodType)):
            continue
        wrapped = key == "forward" and ("_original_forward" in own or "_old_forward" in own)
        if callable(getattr(type(module), key, None)) and not wrapped:
            yield key


def can_be_set(value: object, there: object) -> bool:
    """Whether a value is plain, finite and of the present one's kind: number for number, equal lengths.

    Args:
        value: the value.
        there: the present one.
    """
    if isinstance(there, (tuple, list)):
        return (
            isinstance(value, (tuple, list))
            and len(value) == len(there)
            and all(map(can_be_set, value, there))
        )
    if isinstance(there, bool) or isinstance(value, bool):
        return isinstance(there, bool) and isinstance(value, bool)
    if isinstance(there, (int, float)):
        return isinstance(value, (int, float)) and abs(value) <= _LARGEST
    return isinstance(there, str) and isinstance(value, str) and len(value) <= 64


_LARGEST = 2**16
