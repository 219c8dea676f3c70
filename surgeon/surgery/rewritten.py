"""What surgery gives, as a type: a module with its record. It is for type checkers, and for isinstance."""

from __future__ import annotations

from typing import Any

from torch import nn

from surgeon.edits import Plan
from surgeon.surgery.door import surgery_of


class _HadSurgery(type):
    """Whether a network had surgery is written on the network, not in its class."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, nn.Module) and surgery_of(instance) is not None


class RewrittenModule(nn.Module, metaclass=_HadSurgery):
    """A network after surgery, whose record is its attribute `surgery`.

    What `surgeon.apply` gives is a GraphModule whose class derives from the stock network's, or, where torch.fx cannot follow the
    network as a whole, a module of the stock class with GraphModules in it. This is the type of both: `isinstance(m, RewrittenModule)`
    holds for networks that had surgery and for no others, as `surgery_of(m) is not None` does. Never made itself.

        model: RewrittenModule = surgeon.apply(network, "kap")
        print(model.surgery.effect)
    """

    surgery: Plan

    def __new__(cls, *args: Any, **kwargs: Any) -> RewrittenModule:
        raise TypeError("RewrittenModule is a type alone; surgeon.apply(model, recipe) makes networks of it")
