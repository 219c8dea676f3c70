"""A model in a process of its own, under a limit of memory and of time; what it dies of is a row as well."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from benchmarks.sweep.pair import blank, run_pairs
from benchmarks.sweep.subject import create, sketch

Row = dict[str, Any]
Work = Callable[[str, Sequence[str]], Iterable[Row]]


def rows_of(name: str, recipes: Sequence[str]) -> Iterator[Row]:
    """The rows of one model, here and now."""
    yield from run_pairs(create(name), recipes)


def plans_of(name: str, recipes: Sequence[str]) -> Iterator[Row]:
    """The rows of one model that is planned alone, without data."""
    yield from run_pairs(sketch(name), recipes, only_plans=True)


def in_child(
    name: str, recipes: Sequence[str], *, memory: int, seconds: float, work: Work = rows_of
) -> Iterator[Row]:
    """The rows of one model, from forked processes.

    memory: MiB of address space. seconds: for a pair; the first one's creation of the model counts with it. A
    pair that its process did not survive gets a row with the outcome `died`, and the others go on in a new
    process; where not even the first was reached, all have died of the same.
    """
    left = list(recipes)
    while left:
        cause, first = "", len(left) == len(recipes)
        for row, died in _lines(name, left, memory, seconds, work):
            if row is None:
                cause = died
                break
            left, first = left[1:], False
            yield row
        if not cause:
            return
        dead, left = (left, []) if first else (left[:1], left[1:])
        yield from (blank(name, r) | {"outcome": "died", "cause": cause} for r in dead)


def _lines(
    name: str, recipes: Sequence[str], memory: int, seconds: float, work: Work
) -> Iterator[tuple[Row | None, str]]:
    """Each row with '', then (None, cause) if the process did not end well."""
    sys.stdout.flush(), sys.stderr.flush()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _work(name, recipes, memory, writing, work)
    os.close(writing)
    cause = ""
    try:
        buffer = b""
        deadline = time.monotonic() + seconds
        while True:
            ready, _, _ = select.select([reading], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                cause = f"over {seconds:g} s"
                break
            part = os.read(reading, 1 << 16)
            if not part:
                break
            *lines, buffer = (buffer + part).split(b"\n")
            for line in lines:
                answer = json.loads(line)
                if "died" in answer:
                    cause = answer["died"]
                else:
                    yield answer, ""
                deadline = time.monotonic() + seconds
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if not cause and code:
        cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    if cause:
        yield None, cause


def _work(name: str, recipes: Sequence[str], memory: int, writing: int, work: Work) -> None:
    """In the child: never returns."""
    code = 0
    with os.fdopen(writing, "w", encoding="utf-8") as out:
        try:
            gc.disable()  # it ends soon, and the limit is there
            resource.setrlimit(resource.RLIMIT_AS, (memory << 20, memory << 20))
            with (
                open(os.devnull, "w") as quiet,
                contextlib.redirect_stdout(quiet),
                contextlib.redirect_stderr(quiet),
            ):
                for row in work(name, recipes):
                    print(json.dumps(row), file=out, flush=True)
        except BaseException as error:
            print(
                json.dumps({"died": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}),
                file=out,
                flush=True,
            )
            code = 1
    os._exit(code)
