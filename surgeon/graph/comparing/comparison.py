"""A network's code beside graphs of it: both are run on copies from equal states, and what they show is compared."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from surgeon.graph.comparing.differing import Difference, difference
from surgeon.graph.comparing.side_by_side import (
    SERIES,
    CallFailed,
    Noted,
    Seen,
    TrialCall,
    attributes,
    run,
    takes,
)
from surgeon.graph.measuring.faults import one_line
from surgeon.graph.measuring.flat import flat
from surgeon.graph.measuring.measure import Shape, images_of
from surgeon.graph.rewritten.region import Region, assembled
from surgeon.graph.trees.apart import demand_apart
from surgeon.graph.trees.bound_hooks import bound_in, rebind
from surgeon.graph.trees.hooks_of_others import without_hooks_of_others
from surgeon.graph.trees.twin import twin


@dataclass(frozen=True)
class Reference:
    """What a network's code showed, on images of a size, in the calls that it takes."""

    series: tuple[TrialCall, ...]
    seen: list[Seen]
    size: Shape


class Comparison:
    """Runs a network's code once, and graphs of its parts as often as is asked."""

    def __init__(self, network: nn.Module, sizes: Iterable[Shape]) -> None:
        """`sizes`: of an image; the first that the network takes is used. Raises what a copy raises for a network
        that cannot be copied."""
        self._pristine = copied(network, share=True)
        self._sizes = tuple(sizes)
        self._inputs = images_of(network)
        self.tree = network

    @functools.cached_property
    def code(self) -> Reference | None:
        """What the network's code shows; None if it takes images of none of these sizes."""
        return self._reference(self._sizes, double=False)

    def differ(self, regions: Sequence[Region]) -> str:
        """How the network with some parts as graphs differs from its code; '' where it does not."""
        code = self.code
        if code is None:
            return ""
        graphs = self._graphs(regions, code)
        compared = graphs if isinstance(graphs, Difference) else self._between(code, graphs)
        if compared is None:
            return ""
        if not self._repeats:
            again = self._graphs(regions, code)
            if isinstance(graphs, Difference) or isinstance(again, Difference):
                return compared.reason
            alike = difference(graphs, again, self._before) is None
            return "its code draws anew at each call, and its graph does not" if alike else ""
        if compared.small:
            return self._in_double(regions)
        again = self._graphs(regions, code)  # another thread may have drawn from the process's streams
        stands = isinstance(again, Difference) or self._between(code, again) is not None
        return compared.reason if stands else ""

    @functools.cached_property
    def _before(self) -> Noted:
        return dict(attributes(list(self._pristine.named_modules(remove_duplicate=False))))

    @functools.cached_property
    def _repeats(self) -> bool:
        """Whether the code gives the same again from the same state: it may draw from streams that nobody can set."""
        code = self.code
        if code is None:
            return True
        again = self._graphs((), code)
        return not isinstance(again, Difference) and self._between(code, again) is None

    @functools.cached_property
    def _code_in_double(self) -> Reference | None:
        return self._reference([self.code.size] if self.code else [], double=True)

    def _in_double(self, regions: Sequence[Region]) -> str:
        """The same in double precision: rounding alone does not show there. A network that does not run so is
        judged as it is."""
        code = self._code_in_double
        if code is None:
            return "its graph gives other values than its code, by more than rounding"
        graphs = self._graphs(regions, code, double=True)
        difference = graphs if isinstance(graphs, Difference) else self._between(code, graphs)
        return difference.reason if difference else ""

    def _between(self, code: Reference, graphs: list[Seen]) -> Difference | None:
        return difference(code.seen, graphs, self._before)

    def _reference(self, sizes: Iterable[Shape], *, double: bool) -> Reference | None:
        for size in sizes:
            series, seen = takes(
                functools.partial(self._made, (), double), size, self._inputs, _series(self._pristine)
            )
            if series:
                return Reference(series, seen, size)
        return None

    def _graphs(
        self, regions: Sequence[Region], code: Reference, double: bool = False
    ) -> list[Seen] | Difference:
        try:
            return run(self._made(regions, double), code.series, code.size, self._inputs)
        except CallFailed as failed:
            return Difference(
                f"its graph fails for {failed.call}, which its code takes: {_printable(failed.cause)}"
            )
        except Exception as error:  # graphs that cannot be made
            return Difference(f"no graph of it can be run: {_printable(error)}")

    def _made(self, regions: Sequence[Region], double: bool) -> nn.Module:
        """A copy with some parts as graphs, whose weights let every part show in the outputs."""
        tree = copied(self._pristine)
        without_hooks_of_others(tree)
        _make_visible(tree)
        network = assembled(tree, regions)
        return network.double() if double else network


def _printable(error: Exception) -> str:
    return "".join(c for c in one_line(error) if c.isprintable())


def copied(network: nn.Module, share: bool = False) -> nn.Module:
    """A copy, to which the bound hooks of a network are bound; `share`: on the same tensors.

    Activations that modules keep from a pass are copied without their history, which could not be copied.
    """
    memo: dict[int, Any] = {}
    if share:
        memo = {id(t): t for t in (*network.parameters(), *network.buffers())}
    for _, value in _held(network):
        if isinstance(value, torch.Tensor) and value.grad_fn is not None:
            memo.setdefault(id(value), value.detach().clone())
    new = twin(network, memo)
    demand_apart(new, network, tensors=not share)
    rebind(new, bound_in(network))
    return new


def _series(network: nn.Module) -> tuple[TrialCall, ...]:
    """The calls to make; empty in training mode where a norm would wait for other processes, which may not compare."""
    waits = any(isinstance(m, nn.SyncBatchNorm) for m in network.modules())
    together = waits and torch.distributed.is_available() and torch.distributed.is_initialized()
    return tuple(c for c in SERIES if not (together and c.training))


def _held(network: nn.Module) -> Iterator[tuple[str, Any]]:
    for module in network.modules():
        own = {k: v for k, v in module.__dict__.items() if k not in ("_parameters", "_modules")}
        yield from flat(own)


def _make_visible(network: nn.Module) -> None:
    """Give parameters values of all kinds where they are empty memory, or all the same: what stands behind a factor
    of 0 would not show."""
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if (
                not parameter.is_floating_point()
                or parameter.layout != torch.strided
                or not parameter.numel()
            ):
                continue
            least, most = float(parameter.min()), float(parameter.max())
            sane = least > -1e4 and most < 1e4  # also not where one is NaN
            if sane and least < most:
                continue
            around = least if sane else 0.0
            noise = torch.randn(parameter.shape, generator=drawn) * 0.1
            parameter.copy_((around + noise).to(parameter))
