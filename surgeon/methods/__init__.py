"""The methods, a room each, and the registry that knows their operations by name.

A room holds all that belongs to its method: the operation (what a recipe names), the mathematics on tensors, the
module that is hung into a network, and the paper's tables. Importing this package, or a room, imports no torch: an
operation's settings are plain data, and its layers are imported when the first one is built.
"""

from surgeon.methods.base import Cut, FoldContext, Operation, Proposal
from surgeon.methods.registry import get, names, parse

__all__ = ["Cut", "FoldContext", "Operation", "Proposal", "get", "names", "parse"]
