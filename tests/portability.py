"""The tests marked `numeric` as other processors would run them: `make portability`; `make portable` for the farthest.

Each setting is a run of pytest of its own. The libraries below torch are held to older instructions, which sum in
another order and round otherwise; two threads split sums once more. Each library is held twice, once with one thread
and once with two. As pytest's plug-in this file stops a run whose setting has no effect.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS = (
    ("ATEN_CPU_CAPABILITY", "default", 1),
    ("ONEDNN_MAX_CPU_ISA", "AVX2", 1),
    ("ATEN_CPU_CAPABILITY", "avx2", 2),
    ("ONEDNN_MAX_CPU_ISA", "SSE41", 2),
)
"""A variable of torch's or of oneDNN's, its value, and the number of threads. The first is farthest from a processor of
today: its sums are in another order and without fused products."""
FARTHEST = "farthest"
"""The argument that asks for the first setting alone, without slow tests and those of processes: minutes."""
ASKED = "SURGEON_TEST_SETTING"
NAMES = {"SSE41": "SSE4.1"}
"""What oneDNN calls a set of instructions when it is asked, where that is not the variable's value."""


def pytest_sessionstart() -> None:
    """Stop where the setting that was asked for is not what torch does."""
    import torch

    variable, value, threads = os.environ[ASKED].split()
    if variable == "ATEN_CPU_CAPABILITY":
        found, wanted = torch.backends.cpu.get_cpu_capability(), value.upper()
    else:
        found, wanted = _instructions(), NAMES.get(value, value)
    if found != wanted or torch.get_num_threads() != int(threads):
        raise pytest.UsageError(
            f"{variable}={value} with {threads} threads has no effect here: torch computes with {found} and "
            f"{torch.get_num_threads()} threads"
        )


def _instructions() -> str:
    """The set of instructions that oneDNN uses, by its own word at its first convolution."""
    import torch

    with tempfile.TemporaryFile() as told:
        out = os.dup(1)
        os.dup2(told.fileno(), 1)
        try:
            with torch.backends.mkldnn.verbose(1):
                torch.nn.functional.conv2d(torch.ones(8, 3, 32, 32), torch.ones(8, 3, 3, 3))
        finally:
            os.dup2(out, 1)
            os.close(out)
        told.seek(0)
        found = re.search(r"cpu,isa:Intel (.*)", told.read().decode())
    return found[1] if found else "unknown instructions"


def places(more: list[str]) -> list[str]:
    """The files and folders of numeric tests, so that no setting reads all others; none where `more` names some."""
    from tests.conftest import NUMERIC

    if any((ROOT / argument.partition("::")[0]).exists() for argument in more):
        return []
    return [f"tests/{place}" for place in NUMERIC]


def run(setting: tuple[str, str, int], marked: str, more: list[str]) -> bool:
    """One setting of the tests that are `marked` so, with `more` arguments of pytest's: a line with what came out, and
    whether all passed."""
    variable, value, threads = setting
    environment = {
        **os.environ,
        variable: value,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        ASKED: f"{variable} {value} {threads}",
    }
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        command = [sys.executable, "-m", "pytest", "-p", "tests.portability", "-p", "no:cacheprovider"]
        command += ["-m", marked, f"--junitxml={results}", f"--basetemp={folder}/work", *more, *places(more)]
        began = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
        told = ElementTree.parse(results).getroot()[0].attrib if results.is_file() else {}
    failed = int(told.get("failures", 0)) + int(told.get("errors", 0))
    passed = int(told.get("tests", 0)) - failed - int(told.get("skipped", 0))
    name = f"{variable}={value}, {threads} thread{'s' if threads > 1 else ''}"
    end = "" if told else f", pytest ended without results (exit code {done.returncode})"
    print(f"{name}: {passed} passed, {failed} failed, {seconds:.0f} s{end}", flush=True)
    if done.returncode:
        print((done.stdout + done.stderr)[-6000:], file=sys.stderr, flush=True)
    return done.returncode == 0 and passed > 0


def main() -> None:
    """Settings of one thread two at a time, the others one after the other; exit code 1 where one failed."""
    if sys.argv[1:2] == [FARTHEST]:
        sys.exit(not run(SETTINGS[0], "numeric and not processes and not slow", sys.argv[2:]))
    each = partial(run, marked="numeric", more=sys.argv[1:])
    alone = [s for s in SETTINGS if s[2] == 1]
    with ThreadPoolExecutor(2) as two:
        fine = list(two.map(each, alone))
    fine += [each(s) for s in SETTINGS if s not in alone]
    sys.exit(not all(fine))


if __name__ == "__main__":
    main()
