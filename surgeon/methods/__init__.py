"""The methods, one package each, the registry of their operations by name, and all that a new one is written with.

A method's package holds all that belongs to it: the operation (what a recipe names), the mathematics on
tensors, the module that is inserted into a network, and the paper's tables. Importing this package, or a
method's, does not import torch: an operation's settings are plain data, and its layers are imported when the
first one is built.

An author of an operation imports from here alone, in a package of his own as in a room of this one:

| for | names |
|---|---|
| the operation | `Operation` |
| what it is given | `Context`, `FoldContext`, `Observed`, `LeastSquares` |
| what it answers | `Proposal`, `Cut`, `Wanted`, `Search`, `Unfitted` |
| its edits | `Edit`, `Traits`, `Growth`, `Note`, `sizes` |
| sites | `Site`, `PassedOver`, `Selection`, `Selector`; `usable_of`, `pass_over` |
| activations | `activations`, `with_fused`, `function_at`, `numbers_at` |
| reasons | `unfit`, `unopened`, `cannot_mix`, `cannot_shift` |
| its settings | `Quantity` |
| its layer | `OptionalState`, `ChannelStatistics`; `Proxy`, `called` for a `forward` that branches on shapes |
| folding | `with_mixing`, `take_up`, `effective_weight`, `with_weight` |
| its paper's tables | `Paper`, `Attack` |
| errors | `FoldError`, `LayerError`, `SelectionError` |
| a room's door | `lazily` |
| operations by name | `get`, `names`, `parse` |
"""

from surgeon.edits import Edit, Growth, Note, Traits
from surgeon.errors import FoldError, LayerError, SelectionError
from surgeon.lazy import lazily
from surgeon.methods.activation_sites import activations, function_at, numbers_at, with_fused
from surgeon.methods.answers import (
    Context,
    Cut,
    FoldContext,
    LeastSquares,
    Observed,
    Proposal,
    Search,
    Unfitted,
    Wanted,
)
from surgeon.methods.base import Operation
from surgeon.methods.channel_sites import cannot_mix, cannot_shift, unfit, unopened
from surgeon.methods.registry import get, names, parse
from surgeon.methods.usable import pass_over, sizes, usable_of
from surgeon.quantities import Quantity
from surgeon.results.paper import Paper
from surgeon.results.threat import Attack
from surgeon.selection import PassedOver, Selection, Selector, Site

_LAYERS = {
    "ChannelStatistics": "surgeon.tensors.channel_statistics",
    "OptionalState": "surgeon.tensors.optional_state",
    "Proxy": "surgeon.tensors.traced",
    "called": "surgeon.tensors.traced",
    "effective_weight": "surgeon.tensors.convolution",
    "take_up": "surgeon.tensors.mixing",
    "with_mixing": "surgeon.tensors.mixing",
    "with_weight": "surgeon.tensors.convolution",
}
__all__ = [
    "Attack",
    "Context",
    "Cut",
    "Edit",
    "FoldContext",
    "FoldError",
    "Growth",
    "LayerError",
    "LeastSquares",
    "Note",
    "Observed",
    "Operation",
    "Paper",
    "PassedOver",
    "Proposal",
    "Quantity",
    "Search",
    "Selection",
    "SelectionError",
    "Selector",
    "Site",
    "Traits",
    "Unfitted",
    "Wanted",
    "activations",
    "cannot_mix",
    "cannot_shift",
    "function_at",
    "get",
    "lazily",
    "names",
    "numbers_at",
    "parse",
    "pass_over",
    "sizes",
    "unfit",
    "unopened",
    "usable_of",
    "with_fused",
    *_LAYERS,
]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
