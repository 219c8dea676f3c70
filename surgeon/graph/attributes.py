"""What networks write into attributes of their own while they run, such as the anchors of a detector for the present size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_TORCH_KEEPS = frozenset(nn.Module().__dict__)


@contextmanager
def attributes_kept(model: nn.Module) -> Iterator[None]:
    """Give the modules their plain attributes back in the end, and lists and dicts in them what they held.

    None stays that a run on tensors without numbers, or on those of a trace, left there.
    """
    before = [
        (m, {k: v for k, v in m.__dict__.items() if k not in _TORCH_KEEPS}) for m in set(model.modules())
    ]
    held = {id(v): (v, v.copy()) for _, own in before for v in own.values() if type(v) in (dict, list)}
    try:
        yield
    finally:
        for module, own in before:
            for key in [k for k in module.__dict__ if k not in _TORCH_KEEPS and k not in own]:
                del module.__dict__[key]
            module.__dict__.update(own)
        for now, then in held.values():
            now.clear()
            now.update(then) if isinstance(now, dict) else now.extend(then)
