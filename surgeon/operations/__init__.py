"""The surgical operations, one file each, and the registry that knows them by name.

Importing this package imports no torch: an operation's settings are plain data, and its layers are
imported when the first one is built.
"""

from surgeon.operations.base import Cut, FoldContext, Operation, Proposal
from surgeon.operations.registry import get, names, parse

__all__ = ["Cut", "FoldContext", "Operation", "Proposal", "get", "names", "parse"]
