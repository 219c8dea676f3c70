"""The type of rewritten networks, for type checkers and isinstance."""

from __future__ import annotations

from typing import Any

from torch import nn

from surgeon.edits import Plan
from surgeon.surgery.door import surgery_of


class _HadSurgery(type):
    """A metaclass for isinstance: surgery is recorded on the network object, not in its class."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, nn.Module) and surgery_of(instance) is not None


class RewrittenModule(nn.Module, metaclass=_HadSurgery):
    """A network after surgery, whose record is its attribute `surgery`.

    `surgeon.apply` returns a GraphModule whose class derives from the stock network's, or, if torch.fx cannot
    trace the network as a whole, a module of the stock class that contains GraphModules. This is the type of
    both: `isinstance(m, RewrittenModule)` is true exactly if `surgery_of(m) is not None`. It cannot be
    instantiated.

    Attributes:
        surgery: The record.

    Examples:
        >>> import surgeon
        >>> model = surgeon.apply(surgeon.create_model("zoo/shallow1"), "kap")
        >>> isinstance(model, surgeon.RewrittenModule), model.surgery.effect
        (True, 'destroyed')
    """

    surgery: Plan

    def __new__(cls, *args: Any, **kwargs: Any) -> RewrittenModule:
        raise TypeError("RewrittenModule is a type alone; surgeon.apply(model, recipe) makes networks of it")
