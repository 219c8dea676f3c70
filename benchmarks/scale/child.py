"""Processes that train together: each is a fork of this one, so that none imports torch again."""

from __future__ import annotations

import copy
import functools
import multiprocessing
import os
import socket
import statistics
import time
import traceback
from collections.abc import Sequence
from typing import Any
from unittest import mock

import accelerate
import timm.optim
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import surgeon
from benchmarks.growth import Chain
from benchmarks.scale.counting import Count
from surgeon.data import Images
from surgeon.recipe import Training
from surgeon.tensors import gaussian
from surgeon.training import fit
from surgeon.training.step import Step

RECIPES: dict[str, Any] = {
    "plain": None,
    "wide": None,
    "kap": {"op": "kap", "sigma": 0.1},
    "anl": "anl",
}
"""What is cut into the network; `wide` is plain with twice the channels."""
IMAGES, SIDES = {"chain": 16, "resnet50": 2}, {"chain": 16, "resnet50": 32}
WIDTH, WARM = 16, 2
IMPORTED = accelerate, timm.optim
"""What a training imports late: before the fork, so that it is done once."""


class Meter:
    """Times and counts of each step of one training."""

    def __init__(self) -> None:
        self.count, self.drawn = Count(), 0
        self.steps: list[dict[str, Any]] = []

    def run(self, model: nn.Module, data: Images, settings: Training) -> list[dict[str, Any]]:
        """Train, and return a row for each step."""
        step, draw = Step.__call__, gaussian._drawn

        def timed(own: Step, *args: Any) -> float:
            if not self.steps and isinstance(own.network, DistributedDataParallel):
                self.count.hook(own.network)
            self.count.clear()
            self.drawn = 0
            wall, cpu = time.perf_counter(), time.process_time()
            loss = step(own, *args)
            row = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
            kinds = {k: [self.count.calls[k], self.count.bytes[k]] for k in sorted(self.count.calls)}
            self.steps.append(row | {"sent": kinds, "drawn": self.drawn})
            return loss

        def drawing(out: Tensor, *args: Any) -> Tensor:
            self.drawn += out.numel()
            return draw(out, *args)

        with (
            self.count.wrapped(),
            mock.patch.object(Step, "__call__", timed),
            mock.patch.object(gaussian, "_drawn", drawing),
        ):
            fit(model, data, settings=settings, device="cpu", progress=False)
        return self.steps


@functools.cache
def network(what: str, kind: str) -> nn.Module:
    """A small chain, or a ResNet-50 without weights of anybody's training."""
    torch.manual_seed(0)
    side = SIDES[what]
    width = 2 * WIDTH if kind == "wide" else WIDTH
    model: nn.Module = Chain(4, width) if what == "chain" else timm.create_model(what)
    recipe = RECIPES[kind]
    return model if recipe is None else surgeon.apply(model, recipe, input_size=(3, side, side))


def measured(what: str, kind: str, exact: bool, world: int, steps: int) -> dict[str, Any]:
    """The row of one kind of network, after a first step or more that warm up."""
    images, side = IMAGES[what], SIDES[what]
    n = images * world
    generator = torch.Generator().manual_seed(0)
    data = Images(
        torch.rand(n * steps, 3, side, side, generator=generator),
        torch.randint(10, (n * steps,), generator=generator),
    )
    settings = Training(epochs=1, batch_size=n, exact=exact, noise_share=1.0)
    rows = Meter().run(copy.deepcopy(network(what, kind)), data, settings)
    kept, last = rows[min(WARM, steps - 1) :], rows[-1]
    return {
        "kind": kind,
        "exact": exact,
        "processes": world,
        "images": images,
        "seconds": statistics.median(r["seconds"] for r in kept),
        "cpu": statistics.median(r["cpu"] for r in kept),
        "sent": last["sent"],
        "drawn": last["drawn"],
    }


def together(
    world: int, what: str, kinds: Sequence[str], steps: int, limit: float = 1800
) -> list[dict[str, Any]]:
    """Rows of the first of so many processes.

    Seconds of more processes than there are cores measure how they share them; CPU seconds are each one's own.

    Args:
        world: Number of processes, of one thread each.
        what: `chain` or `resnet50`.
        kinds: Of `RECIPES`; each with `exact` and without.
        steps: Steps a training.
        limit: Seconds after which all are stopped.

    Raises:
        RuntimeError: A process failed or took too long; the message has its traceback.
    """
    fork = multiprocessing.get_context("fork")
    receive, send = fork.Pipe(duplex=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        fork.Process(target=_process, args=(k, world, port, what, tuple(kinds), steps, send))
        for k in range(world)
    ]
    torch.set_num_threads(1)  # here too: a pool of threads that was used does not survive a fork
    for kind in kinds:
        network(what, kind)  # before the fork: cut once
    for process in processes:
        process.start()
    try:
        if not receive.poll(limit):
            raise RuntimeError(f"{world} processes did not end within {limit:g} s")
        answer = receive.recv()
    finally:
        for process in processes:
            process.join(5)
            process.kill()
    if isinstance(answer, str):
        raise RuntimeError(f"one of {world} processes failed:\n{answer}")
    return list(answer)


def _process(
    rank: int, world: int, port: int, what: str, kinds: Sequence[str], steps: int, send: Any
) -> None:
    names = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": world,
        "LOCAL_WORLD_SIZE": world,
        "MASTER_PORT": port,
    }
    if world > 1:
        os.environ.update(
            {k: str(v) for k, v in names.items()}, MASTER_ADDR="127.0.0.1", ACCELERATE_USE_CPU="true"
        )
    try:
        rows = [measured(what, kind, exact, world, steps) for kind in kinds for exact in (True, False)]
    except BaseException:
        send.send(traceback.format_exc())
        os._exit(1)
    if rank == 0:
        send.send(rows)
    if world > 1:
        torch.distributed.barrier()
    os._exit(0)  # torch's gloo may abort where the interpreter tears it down
