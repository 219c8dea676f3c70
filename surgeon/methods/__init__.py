"""The methods, one package each, and the registry of their operations by name.

A method's package holds all that belongs to it: the operation (what a recipe names), the mathematics on
tensors, the module that is inserted into a network, and the paper's tables. Importing this package, or a
method's, does not import torch: an operation's settings are plain data, and its layers are imported when the
first one is built.
"""

from surgeon.lazy import lazily
from surgeon.methods.base import Cut, FoldContext, Operation, Proposal, Search, Wanted
from surgeon.methods.registry import get, names, parse

_LAYERS = {"OptionalState": "surgeon.tensors.optional_state"}
__all__ = [
    "Cut",
    "FoldContext",
    "Operation",
    "Proposal",
    "Search",
    "Wanted",
    "get",
    "names",
    "parse",
    *_LAYERS,
]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
