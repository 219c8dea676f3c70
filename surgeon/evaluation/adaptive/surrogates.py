"""A rewritten network whose inserted layers give way to their surrogates, in one pass or in both."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any, Literal

from torch import Tensor, nn

from surgeon.edits import Plan
from surgeon.evaluation.adaptive.stand_in import through
from surgeon.methods.registry import parse
from surgeon.tensors.own_calls import PastOwnCalls

Pass = Literal["backward", "both"]


class Yielding(nn.Module):
    """A copy of a rewritten network with a surrogate beside each inserted layer.

    A layer that is its own surrogate stays as it is. So does one whose surrogate gives another shape, such as one left
    out that widens its input; `ignored` names those.

    Args:
        network: The rewritten network; it is copied.
        record: The record of its surgery.
    """

    def __init__(self, network: nn.Module, record: Plan) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        self._which: Collection[str] = ()
        self._other_shape: dict[str, None] = {}
        self._pass: Pass = "backward"
        known, given = {k: parse(o) for k, o in record.operations.items()}, dict[str, None]()
        for edit in record.edits:
            if edit.layer is None and not edit.replaces:
                continue
            layer = self.network.get_submodule(edit.layer or edit.site)
            stand = known[edit.operation].surrogate(edit, layer)
            if stand is not layer:
                layer.register_forward_hook(
                    self._hook(
                        edit.layer or edit.site, edit.operation, None if stand is None else stand.eval()
                    )
                )
                given[edit.operation] = None
        self.operations = tuple(given)

    def _hook(self, name: str, operation: str, stand: nn.Module | None) -> PastOwnCalls:
        def give_way(_layer: nn.Module, given: tuple[Any, ...], output: object) -> Tensor | None:
            if operation not in self._which or not given or not isinstance(given[0], Tensor):
                return None
            instead = given[0] if stand is None else stand(given[0])
            if not isinstance(output, Tensor) or instead.shape != output.shape:
                self._other_shape[name] = None
                return None
            return instead if self._pass == "both" else through(output, instead)

        return PastOwnCalls(give_way)

    def ignored(self) -> list[str]:
        """Say which layers kept their own gradient in the runs so far; one sentence, or an empty list."""
        names = list(self._other_shape)
        if not names:
            return []
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return [f"{', '.join(names[:3])}{more}: the surrogate gives another shape, and was not used"]

    def run(self, x: Any, which: Collection[str], passes: Pass) -> Any:
        """Compute the network with the surrogates of some operations.

        Args:
            x: The network's input.
            which: Names of operations, as in the record.
            passes: "backward": the layers' values with the surrogates' gradients. "both": the surrogates alone.
        """
        self._which, self._pass = which, passes
        try:
            return self.network(x)
        finally:
            self._which = ()


class Given(nn.Module):
    """One choice of surrogates of a `Yielding` network, as a network of its own.

    Args:
        yielding: The network; several choices share it.
        which: Names of operations whose layers give way.
        passes: As for `Yielding.run`.
    """

    def __init__(self, yielding: Yielding, which: Collection[str], passes: Pass) -> None:
        super().__init__()
        self.yielding, self.which, self.passes = yielding, frozenset(which), passes

    def forward(self, x: Any) -> Any:
        """Compute the network's output for x."""
        return self.yielding.run(x, self.which, self.passes)
