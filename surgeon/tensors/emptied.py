"""Layers that know when memory was given to them that nobody wrote to (`to_empty`), and do not compute with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from torch import Tensor, nn

from surgeon.errors import LayerError, nearest
from surgeon.values import empties


class Unwritten:
    """Tensors of one layer, by name, that had no values at some time; each counts until it is written to or exchanged.

    A copy of the layer counts them until they are loaded or reset: what was written in place before is
    not known of its tensors.
    """

    def __init__(self, tensors: Mapping[str, Tensor | None]) -> None:
        self._seen = {n: (t, _version(t)) for n, t in tensors.items()}

    def among(self, tensors: Mapping[str, Tensor]) -> list[str]:
        """The names of those that still have no values."""
        return [
            n
            for n, (old, version) in self._seen.items()
            if n in tensors and (old is None or (tensors[n] is old and _version(old) == version))
        ]

    def written(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether all were written in place; what `functional_call` exchanged for one call was not."""
        return not self.among(tensors) and all(tensors.get(n) is t for n, (t, _) in self._seen.items())

    def drop(self, names: Iterable[str]) -> None:
        """Those have values now."""
        for name in names:
            self._seen.pop(name, None)

    def __deepcopy__(self, memo: dict) -> Unwritten:
        return Unwritten(dict.fromkeys(self._left()))

    def __reduce__(self) -> tuple:
        return (Unwritten, (dict.fromkeys(self._left()),))

    def _left(self) -> list[str]:
        return self.among({n: t for n, (t, _) in self._seen.items() if t is not None}) + [
            n for n, (t, _) in self._seen.items() if t is None
        ]


class Emptied(nn.Module):
    """Base of layers whose values other code does not know how to make.

    After `to_empty` a call raises LayerError until each parameter and persistent buffer was loaded, written,
    or made again by `reset_parameters`. It costs a layer that was not emptied nothing.
    """

    _unwritten: Unwritten | None = None

    def lacking(self) -> list[str]:
        """The names of its parameters and persistent buffers that have no values."""
        own = self._own()
        unwritten = [] if self._unwritten is None else self._unwritten.among(own)
        return [n for n, t in own.items() if t.is_meta or n in unwritten]

    def filled(self, *names: str) -> None:
        """Those parameters and buffers have values; without names, all.

        Raises:
            LayerError: The layer has no parameter or buffer of a name.
        """
        known = {**self._parameters, **self._buffers}
        for name in names:
            if name not in known and not hasattr(self, name):
                raise LayerError(
                    f"{type(self).__name__} has no parameter or buffer {name!r}; {nearest(name, known)}"
                )
        if self._unwritten is None:
            return
        self._unwritten.drop(names or self._own())
        if not self._unwritten.among(self._own()):
            self._unwritten = None
            for key in [k for k, hook in self._forward_pre_hooks.items() if hook is refuse_empty]:
                del self._forward_pre_hooks[key]

    def loaded(self, names: Iterable[str]) -> None:
        """What a subclass does when those names came from a state dict."""

    def _own(self) -> dict[str, Tensor]:
        buffers = {n: b for n, b in self._buffers.items() if n not in self._non_persistent_buffers_set}
        return {n: t for n, t in {**self._parameters, **buffers}.items() if t is not None}

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        lacked = self.lacking()
        super()._apply(fn, recurse)
        own = self._own()
        lacks = [n for n in own if n in lacked or empties(fn)]
        if lacks and not any(t.is_meta for t in own.values()):
            self._unwritten = Unwritten({n: own[n] for n in lacks})
            if refuse_empty not in self._forward_pre_hooks.values():
                self.register_forward_pre_hook(refuse_empty)
        return self

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        names = [n for n in self._own() if prefix + n in state_dict]
        super()._load_from_state_dict(state_dict, prefix, *args)
        if names:
            self.filled(*names)
            self.loaded(names)


def refuse_empty(layer: Any, args: Any) -> None:
    """A hook before a call. Raises LayerError for a layer that lacks values; one whose values were
    written is as any other from then on."""
    lacking = layer.lacking()
    if any(t.is_meta for t in layer._own().values()):
        return  # shapes alone are asked for
    if lacking:
        raise LayerError(
            f"{type(layer).__name__}: {' and '.join(lacking)} "
            f"{'has' if len(lacking) == 1 else 'have'} no values since to_empty: load a "
            "state dict of the cut network, or call reset_parameters on it, which gives back "
            "what it was made with but nothing fitted or loaded; "
            f"after values came by a broadcast, call filled() on it"
        )
    if layer._unwritten is not None and layer._unwritten.written(layer._own()):
        layer.filled()


refuse_empty.of_surgeon = True  # type: ignore[attr-defined]  # no hook of the user's


def _version(tensor: Tensor | None) -> int | None:
    return None if tensor is None or tensor.is_inference() else tensor._version
