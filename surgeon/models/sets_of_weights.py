"""The sets of weights in a checkpoint (raw, averaged, of another network), and which of them is taken."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from surgeon.errors import ArgumentError, ArtifactError, either

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "module")
"""Entries that a network's weights are commonly under, the likeliest first."""
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
"""Entries of averaged weights."""
ITSELF = "."
"""The name of the weights that lie in the file directly, where others lie in an entry beside them."""
_PREFIXES = ("module.", "_orig_mod.", "model.")
_DEEPEST = 4


class Taken(NamedTuple):
    """The weights that were taken of a checkpoint.

    Attributes:
        name: what they are called in it; "." for those that lie in the file directly.
        weights: name → tensor.
        others: what the other sets of weights are called that have the same tensors.
    """

    name: str
    weights: dict[str, Tensor]
    others: tuple[str, ...]


def taken(loaded: object, *, ema: bool, entry: str | None, source: str) -> Taken:
    """Find the weights to load among those in a checkpoint.

    Args:
        loaded: what the file holds.
        ema: take averaged weights.
        entry: take the weights under this entry; a path such as `ema.state_dict` for an entry within another.
        source: the file, for messages.

    Returns:
        The weights; by default those under the likeliest entry.

    Raises:
        ArgumentError: both are asked for.
        ArtifactError: the file holds no weights, or no such set.

    Examples:
        >>> import torch
        >>> file = {"model": {"a": torch.zeros(1)}, "model_ema": {"a": torch.ones(1)}}
        >>> taken(file, ema=False, entry=None, source="w.pth").others
        ('model_ema',)
        >>> taken(file, ema=False, entry="model_ema", source="w.pth").weights
        {'a': tensor([1.])}
    """
    if ema and entry is not None:
        both = either(f"ema=True and entry={entry!r}", f"averaged weights and --weights-entry {entry}")
        raise ArgumentError(f"{both} say two things of one file: leave one of them out")
    sets = dict(_sets(loaded))
    if not sets:
        keys = list(loaded)[:6] if isinstance(loaded, Mapping) else type(loaded).__name__
        raise ArtifactError(f"{source} holds no state dict; it has {keys}")
    names = {path: _name(path, sets) for path in sets}
    if entry is not None:
        path = _under(entry, sets, names, source)
    else:
        likeliest = _likeliest(loaded, ema)
        if likeliest is None:
            how = either(
                f"entry={next(iter(names.values()))!r}", f"--weights-entry {next(iter(names.values()))}"
            )
            raise ArtifactError(
                f"{source} holds no state dict under a common entry; {_has(names)}: say which by {how}"
            )
        path = likeliest
        if ema and not any(part in AVERAGED for part in path):
            raise ArtifactError(
                f"{source} holds no averaged weights under {', '.join(AVERAGED)}; {_has(names)}"
            )
    bare = {_bare(k) for k in sets[path]}
    same = (p for p, weights in sets.items() if p != path and bare <= {_bare(k) for k in weights})
    return Taken(names[path], sets[path], tuple(names[p] for p in same))


def stripped(weights: dict[str, Tensor], names: Collection[str] = ()) -> dict[str, Tensor]:
    """Take off the prefixes of wrappers that all names have, unless the network has them too.

    Args:
        weights: name → tensor.
        names: what the tensors of the network are called.

    Examples:
        >>> import torch
        >>> file = {"module.model.weight": torch.zeros(1)}
        >>> [*stripped(file)], [*stripped(file, {"model.weight"})]
        (['weight'], ['model.weight'])
    """
    while prefix := next((p for p in _PREFIXES if weights and all(k.startswith(p) for k in weights)), ""):
        if not weights.keys().isdisjoint(names):
            break
        weights = {k[len(prefix) :]: v for k, v in weights.items()}
    return weights


Path = tuple[str, ...]
"""The entries from the outside to a set of weights; () for the file itself."""


def _sets(loaded: object, path: Path = ()) -> Iterator[tuple[Path, dict[str, Tensor]]]:
    """Every mapping with tensors in it; what lies under numbers is an optimizer's."""
    if not isinstance(loaded, Mapping) or len(path) > _DEEPEST:
        return
    if own := {str(k): v for k, v in loaded.items() if isinstance(v, Tensor)}:
        yield path, own
    for key, value in loaded.items():
        if isinstance(key, str):
            yield from _sets(value, (*path, key))


def _likeliest(loaded: object, ema: bool, path: Path = ()) -> Path | None:
    """The set under the common entries; that of the mapping itself where it lacks them all."""
    if not isinstance(loaded, Mapping):
        return None
    for key in (*AVERAGED, *WRAPPERS) if ema else (*WRAPPERS, *AVERAGED):
        path_below = _likeliest(loaded.get(key), ema, (*path, key))
        if path_below is not None:
            return path_below
    return path if any(isinstance(v, Tensor) for v in loaded.values()) else None


def _name(path: Path, sets: Mapping[Path, Any]) -> str:
    """The shortest beginning of a path that no other set has."""
    for length in range(1, len(path)):
        if sum(other[:length] == path[:length] for other in sets) == 1:
            return ".".join(path[:length])
    return ".".join(path) or ITSELF


def _under(entry: str, sets: Mapping[Path, Any], names: Mapping[Path, str], source: str) -> Path:
    matching = [p for p in sets if entry in (names[p], ".".join(p))]
    if not matching:
        raise ArtifactError(f"{source} has no set of weights called {entry!r}; {_has(names)}")
    return matching[0]


def _has(names: Mapping[Path, str]) -> str:
    """What the sets of a file are called, as the end of a sentence."""
    shown = [repr(n) for n in names.values()]
    if shown == [repr(ITSELF)]:
        without = either("leave entry out", "leave --weights-entry out")
        return f"its one set lies in it directly: {without}"
    return f"it has {', '.join(shown[:8])}{', …' if len(shown) > 8 else ''}"


def _bare(name: str) -> str:
    """A tensor's name without the prefixes of wrappers."""
    while prefix := next((p for p in _PREFIXES if name.startswith(p)), ""):
        name = name[len(prefix) :]
    return name
