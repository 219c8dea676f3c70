"""What a network's code does while it is traced that a graph would lose without a word.

A graph holds calls. It does not hold what decides how they are computed (gradients switched off, autocast),
what was drawn at random outside of them, what the code read of torch's state or of a buffer's values, or what
it wrote into the network's tensors, which are live while it is traced. Each is refused here with a
TraceError, before it is done where it would change a tensor, so that the module whose code does it stays as
it is and runs as it is.
"""

from __future__ import annotations

import contextlib
import functools
import random
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from surgeon.errors import TraceError
from surgeon.graph.tracing.exporting import listening
from surgeon.graph.tracing.global_stream import asked
from surgeon.graph.trees.memory import Owned, storage_of, written_by
from surgeon.graph.trees.streams import Streams, held_by, of_numpy, of_process
from surgeon.torch_private import NUMBER_READ, TorchDispatchMode, tree_leaves

_CONTEXTS: dict[type, str] = {
    torch.no_grad: "torch.no_grad()",
    torch.enable_grad: "torch.enable_grad()",
    torch.set_grad_enabled: "torch.set_grad_enabled()",
    torch.inference_mode: "torch.inference_mode()",
    torch.autocast: "torch.autocast()",
    torch.autograd.graph.saved_tensors_hooks: "hooks on saved tensors, as of torch.utils.checkpoint",
    torch.overrides.TorchFunctionMode: "a mode that overrides torch's functions",
}
_READ = (
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "is_autocast_enabled",
    "is_autocast_cpu_enabled",
    "is_autocast_xla_enabled",
    "get_autocast_dtype",
    "get_autocast_gpu_dtype",
    "get_autocast_cpu_dtype",
)
# Taken before `on` patches them, since the watch itself asks too.
_is_grad_enabled, _is_inference_mode_enabled = torch.is_grad_enabled, torch.is_inference_mode_enabled
_LIBRARIES = ("torch", "surgeon")
"""Packages whose code may ask for torch's state: they ask again at each call, or the question is this package's
own."""


class Watch:
    """Watches one trace, in the thread that made it.

    closely: look for the place where numbers are drawn by Python or numpy. That takes a multiple of the time,
    so that a trace is watched so only where `drew` was seen at the end of one, in this thread or in another.
    """

    def __init__(self, network: nn.Module, closely: bool = False) -> None:
        self._thread = threading.get_ident()
        self._closely = closely
        self.drew = False
        self._inside: list[str] = []
        self._gradients = _gradients()
        self._tensors = _Tensors(network)
        held = held_by(network)
        self._streams = Streams([*of_process(), *held])
        self._unseen = Streams([*of_numpy(), *held])  # whose draws `_refuse_draws` may not see

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Watch until the end of the block, and then remove all patches."""
        states = self._streams.states()
        with contextlib.ExitStack() as stack:
            for kind, text in _CONTEXTS.items():
                stack.enter_context(_patched(kind, "__enter__", functools.partial(self._entered, text)))
                stack.enter_context(_patched(kind, "__exit__", self._left))
            for name in (n for n in _READ if hasattr(torch, n)):
                stack.enter_context(_patched(torch, name, functools.partial(self._read, name)))
            stack.enter_context(listening(self._runs_code))
            stack.enter_context(asked(self._stream))
            stack.enter_context(self._tensors)
            if self._closely:
                stack.enter_context(_numpy_to_itself())
                stack.callback(sys.setprofile, sys.getprofile())
                sys.setprofile(_refuse_draws)
            try:
                yield
            finally:
                self.drew = self._streams.drew_since(states)
                if self.drew:
                    # What a trace draws belongs to no call: later code finds the streams as they were.
                    self._streams.put_back(states)

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """Look away: what is computed here is this package's own."""
        self._tensors.__exit__(None, None, None)
        try:
            yield
        finally:
            self._tensors.__enter__()

    def made_of_network(self, value: torch.Tensor) -> bool:
        """Whether a tensor that the code made was computed from parameters or buffers."""
        return self._tensors.made_of_network(value)

    def left_by_a_run(self, value: torch.Tensor) -> bool:
        """Whether a tensor outside of the network was computed by an earlier run, and kept, for instance by a
        hook."""
        return self._tensors.left_by_a_run(value)

    @property
    def computed_with(self) -> Iterable[str]:
        """The network's tensors whose values the code computed with, so that the graphs hold what came of them."""
        return self._tensors.computed_with

    def written(self, tensor: torch.Tensor) -> None:
        """Raise TraceError for a real tensor that a recorded value is written into."""
        name = self._tensors.owned(tensor)
        if name:
            raise TraceError(f"it writes a result into {name} in place, which a graph would not read again")
        raise TraceError(
            "it writes a result into a tensor that it made of numbers, which a graph would make once for all calls"
        )

    def read(self, tensor: torch.Tensor) -> None:
        """A recorded call takes this real tensor: a graph holds it as it is at the end of the trace."""
        self._tensors.read(tensor)

    def held(self) -> None:
        """Raise TraceError where what is called now would be computed otherwise by a graph."""
        if self._inside:
            raise TraceError(f"it computes inside of {self._inside[-1]}, which a graph does not hold")
        if _gradients() != self._gradients:
            raise TraceError(
                "it computes with gradients switched on or off, as an autograd.Function "
                "does, which a graph does not hold"
            )

    @contextlib.contextmanager
    def forward(self) -> Iterator[None]:
        """A module's own code runs in this block. Raises TraceError at the end where it drew numbers
        that a graph would repeat."""
        states = self._unseen.states() if self._closely else None
        yield
        if states is not None and self._unseen.drew_since(states):
            raise TraceError("it draws numbers by numpy.random, which a graph would repeat at each call")

    # -- what the patched functions do first ----------------------------------------------------------

    def _entered(self, text: str) -> None:
        if threading.get_ident() == self._thread:
            self._inside.append(text)

    def _left(self) -> None:
        if threading.get_ident() == self._thread and self._inside:
            self._inside.pop()

    def _runs_code(self) -> bool:
        """Whether the network's own code runs now, in this thread."""
        return threading.get_ident() == self._thread and self._tensors.watching

    def _stream(self) -> None:
        if self._runs_code():
            frame: Any = sys._getframe(1)
            while frame is not None:
                if frame.f_globals.get("__name__") == "torch.utils.checkpoint":
                    raise TraceError(
                        "it calls torch.utils.checkpoint, which computes again in the backward pass as a graph does "
                        "not: checkpoint parts of the network in the forward of a module above them, or no parts"
                    )
                frame = frame.f_back
            raise TraceError("it seeds or reads torch's random stream, which a graph would not")

    def _read(self, name: str) -> None:
        if not self._runs_code():
            return
        # Two frames up: the patched function calls this one, and the network's code calls that.
        module_name = str(sys._getframe(2).f_globals.get("__name__", ""))
        if module_name.partition(".")[0] not in _LIBRARIES:
            raise TraceError(
                f"it asks for torch.{name}(), whose answer a graph would keep from when it was made"
            )


class _Tensors(TorchDispatchMode):
    """Refuses operations on real tensors that draw numbers, write into the network's tensors, or read their values."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.watching = False
        self._network = network
        self._owned = Owned(network)
        self._made: dict[int, tuple[torch.UntypedStorage, frozenset[str]]] = {}
        self._recorded: dict[int, torch.UntypedStorage] = {}
        self._new: dict[int, torch.UntypedStorage] = {}
        self._left: dict[int, torch.UntypedStorage] = {}
        self.computed_with: set[str] = set()
        self._hooked = any(m._forward_hooks for m in network.modules())
        self._meta = any(t.is_meta for t in (*network.parameters(), *network.buffers()))

    def left_by_a_run(self, value: torch.Tensor) -> bool:
        """Whether a tensor is a result of a run before this was on, or was computed from one.

        It has a gradient's history, or no values although the network has; or it was not made while this was on, and
        there are hooks that could have kept it.
        """
        storage = storage_of(value)
        key = None if storage is None else storage._cdata
        if key in self._left:
            return True
        if self.made_of_network(value):
            return False
        lost = value.grad_fn is not None or (value.is_meta and not self._meta)
        return key not in self._new and (lost or (self._hooked and key is not None))

    def made_of_network(self, value: torch.Tensor) -> bool:
        """Whether a tensor was computed from the network's own while this was on, or is one of those."""
        storage = storage_of(value)
        return bool(self._owned.name(value)) or (storage is not None and storage._cdata in self._made)

    def read(self, value: torch.Tensor) -> None:
        """A graph holds this tensor: what is written into it from now on would be there at the start, too.

        Raises TraceError for one that the code computed from parameters where no graph sees it, or got from them.
        """
        storage = storage_of(value)
        if storage is None:
            return
        for name in () if isinstance(value, nn.Parameter) else sorted(self._sources(value)):
            path, _, key = name.rpartition(".")
            if key in self._network.get_submodule(path)._parameters:
                raise TraceError(
                    f"it computes with {name} as parameters() or a dict gives it, of which a graph would keep the "
                    "values; as self.weight they are read at each call"
                )
        self._recorded[storage._cdata] = storage

    def _sources(self, value: torch.Tensor) -> frozenset[str]:
        """The tensors of the network from which a tensor was computed while this was on, or whose memory it has."""
        storage = storage_of(value)
        own = self._owned.name(value)
        if own or storage is None:
            return frozenset({own} - {""})
        return self._made.get(storage._cdata, (storage, frozenset[str]()))[1]

    def owned(self, value: torch.Tensor) -> str:
        """The tensor of the network whose memory this is, or ''."""
        return self._owned.name(value)

    def __enter__(self) -> Any:
        self.watching = True
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self.watching = False
        super().__exit__(*error)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise TraceError(f"it draws numbers by {_plain(func)}, which a graph would repeat at each call")
        if func._schema.is_mutable:
            for value in written_by(func, args, kwargs):
                name = self._owned.name(value)
                if name:
                    raise TraceError(
                        f"it writes into {name} in place ({_plain(func)}), which a graph would not repeat"
                    )
                storage = storage_of(value) if self._recorded else None
                if storage is not None and storage._cdata in self._recorded:
                    raise TraceError(
                        f"it writes in place ({_plain(func)}) into a tensor that it has computed with, which a graph "
                        "would have before, too"
                    )
        if func is NUMBER_READ and self._owned.name(args[0]):
            raise TraceError(
                f"it makes a number of the values in {self._owned.name(args[0])}, which a graph would keep"
            )
        result = func(*args, **kwargs)
        given = [a for a in tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor)]
        self.computed_with.update(filter(None, map(self._owned.name, given)))
        # torch.tensor hands what it has just made to lift_fresh: of no earlier run, although nothing here saw it
        # made.
        left = func is not torch.ops.aten.lift_fresh.default and any(map(self.left_by_a_run, given))
        # The storage stays with its address, which another tensor could have once it is freed.
        of_it = {s._cdata: s for s in map(storage_of, tree_leaves(result)) if s is not None}
        (self._left if left else self._new).update(of_it)
        sources = frozenset[str]().union(*map(self._sources, given))
        if sources:
            self._made.update({key: (storage, sources) for key, storage in of_it.items()})
        return result


def _plain(func: Any) -> str:
    return str(func._schema.name).partition("::")[2]


def _gradients() -> tuple[bool, bool, int]:
    """Gradient mode, inference mode, and how many autocasts have not ended."""
    torch.autocast_increment_nesting()
    depth = torch.autocast_decrement_nesting()
    return _is_grad_enabled(), _is_inference_mode_enabled(), depth


def _refuse_draws(frame: Any, event: str, called: Any) -> None:
    """A profiler of this thread that lets no generator of Python's draw."""
    if event != "c_call" or called.__name__ not in ("random", "getrandbits"):
        return
    if isinstance(called.__self__, random.Random):
        raise TraceError("it draws numbers by random, which a graph would repeat at each call")


def _numpy_to_itself() -> contextlib.AbstractContextManager[Any]:
    """Numpy's generator for this thread alone, where numpy is in use."""
    numpy = sys.modules.get("numpy.random")
    return contextlib.nullcontext() if numpy is None else numpy.get_bit_generator().lock


@contextlib.contextmanager
def _patched(owner: Any, name: str, first: Callable[[], None]) -> Iterator[None]:
    """Patch a function of a class or module so that it calls `first` before its own code."""
    function = getattr(owner, name)

    @functools.wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        first()
        return function(*args, **kwargs)

    # What is inherited is uncovered again afterwards, and not copied into the class.
    own = name in vars(owner)
    setattr(owner, name, watched)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, function)
        else:
            delattr(owner, name)
