"""Check that graphs compute the same as the code that they replace: both are run, and compared.

A graph holds the calls that one trace saw. Python code may decide, write, or change things in ways that no trace
sees and no list of cases names. So, before the cut, a network with code of no checked library is run twice from
equal states, on equal images and equal random streams: once its code, once its graphs without a layer
(`comparison.py`). Where outputs, gradients, tensors, attributes, modes or random streams differ, the smallest
part is looked for whose own code makes the difference; it keeps its code, as one that cannot be traced does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import nn

from surgeon.errors import TraceError
from surgeon.graph.changes.unchecked import unchecked
from surgeon.graph.comparing.comparison import Comparison
from surgeon.graph.comparing.suspects import with_suspect
from surgeon.graph.measuring.measure import Shape
from surgeon.graph.rewritten.region import Region, innermost_first
from surgeon.torch_private import ConvNd
from surgeon.values import has_values

_SIDES = (32, 64, 224)
"""Heights and widths that are tried where no input size is known."""


class Witness:
    """Says which modules of a network must keep their code.

    It is made before the network is looked at, since code that is run or traced writes into its attributes. Nothing
    that it does changes the network: all runs are made on copies, without the hooks of others.
    """

    def __init__(self, network: nn.Module, size: Shape | None) -> None:
        """`size`: of an image; where that is None, common ones are tried."""
        self._code = unchecked(network)
        self._comparison: Comparison | None = None
        if self._code and all(has_values(t) for t in (*network.parameters(), *network.buffers())):
            try:
                self._comparison = Comparison(network, [size] if size else _guessed(network))
            except Exception:  # what hangs on the network cannot be copied
                return

    def refuses(self, regions: Sequence[Region], region: Callable[[str], Region]) -> dict[str, str]:
        """Modules that must keep their code, with the reason; empty where all regions give what their code gives, and
        where the network cannot be run.

        region: traces one part by its name. It raises TraceError where that cannot be done.
        """
        comparison = self._comparison
        if comparison is None or not regions:
            return {}
        suspects = innermost_first(regions)
        whole = comparison.differ(suspects)
        if not whole:
            return {}
        refused = {r.name: f"beside graphs of other parts, {whole}" for r in suspects}
        for one in suspects:
            why = whole if len(suspects) == 1 else comparison.differ([one])
            if why:
                refused = self._inside(comparison, one, region) or {one.name: why}
                break
        return {n: with_suspect(why, comparison.tree.get_submodule(n)) for n, why in refused.items()}

    def _inside(
        self, comparison: Comparison, region: Region, traced: Callable[[str], Region]
    ) -> dict[str, str]:
        """The modules inside a region whose own code makes it differ: all of one class, which has the code."""
        whole = [f"{region.name}.{name}" if region.name else name for name in region.traced.opaque]
        kinds: dict[type, list[str]] = {}
        for name in sorted(self._code_in(region.name), key=lambda n: -n.count(".")):
            if name != region.name and not any(f"{name}.".startswith(f"{w}.") for w in whole):
                kinds.setdefault(type(comparison.tree.get_submodule(name)), []).append(name)
        for alike in kinds.values():  # what lies deepest comes first
            why = comparison.differ(list(_all_traced(alike, traced)))
            if why:
                return dict.fromkeys(alike, why)
        return {}

    def _code_in(self, name: str) -> list[str]:
        return [n for n in self._code if not name or n == name or n.startswith(f"{name}.")]


def _all_traced(names: Sequence[str], traced: Callable[[str], Region]) -> Iterator[Region]:
    for name in names:
        try:
            yield traced(name)
        except TraceError:
            continue


def _guessed(network: nn.Module) -> list[Shape]:
    first = next((m for m in network.modules() if isinstance(m, ConvNd)), None)
    if not isinstance(first, nn.Conv2d):
        return []
    return [(first.in_channels, side, side) for side in _SIDES]
