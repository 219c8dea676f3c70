"""`make portability`: four settings, each of which runs every numeric test once, and none without an effect."""

import os
import subprocess
from types import SimpleNamespace

import pytest
import torch

from tests import portability
from tests.conftest import NUMERIC

RESULTS = '<testsuites><testsuite tests="3" failures="{failed}" errors="0" skipped="1"/></testsuites>'


@pytest.fixture
def started(monkeypatch):
    """The commands of pytest that a setting would start, with what is different in their environment."""
    found = []

    def run(command, *, env, **_):
        found.append((command, {k: v for k, v in env.items() if os.environ.get(k) != v}))
        (results,) = [a.partition("=")[2] for a in command if a.startswith("--junitxml=")]
        with open(results, "w") as file:
            file.write(RESULTS.format(failed=int(run.code != 0)))
        return SimpleNamespace(returncode=run.code, stdout="", stderr="told")

    run.code = 0
    monkeypatch.setattr(subprocess, "run", run)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    return run, found


def test_every_setting_runs_every_numeric_test_once(started, monkeypatch, capsys):
    _, found = started
    monkeypatch.setattr("sys.argv", ["portability", "-x"])
    with pytest.raises(SystemExit) as ended:
        portability.main()
    assert ended.value.code is False
    asked = {e[portability.ASKED]: (c, e) for c, e in found}
    assert [*sorted(asked)] == sorted(" ".join(map(str, s)) for s in portability.SETTINGS) and len(found) == 4
    for variable, value, threads in portability.SETTINGS:
        command, environment = asked[f"{variable} {value} {threads}"]
        assert environment[variable] == value and environment["OMP_NUM_THREADS"] == str(threads)
        assert command[command.index("-m", 4) + 1] == "numeric" and "-x" in command
        assert [a for a in command if a.startswith("tests/")] == [f"tests/{n}" for n in NUMERIC]
    assert capsys.readouterr().out.count(": 2 passed, 0 failed, ") == 4


def test_tests_that_are_named_are_run_in_the_place_of_all(started, monkeypatch):
    _, found = started
    named = "tests/methods/test_kap.py::test_it"
    assert portability.run(portability.SETTINGS[0], "numeric", [named, "-k", "it"])
    assert [a for a in found[0][0] if a.startswith("tests/")] == [named]


def test_a_setting_that_fails_is_an_exit_code_and_is_told(started, monkeypatch, capsys):
    run, _ = started
    run.code = 1
    monkeypatch.setattr("sys.argv", ["portability", "farthest"])
    with pytest.raises(SystemExit) as ended:
        portability.main()
    told = capsys.readouterr()
    assert ended.value.code is True and ": 1 passed, 1 failed" in told.out and "told" in told.err


def test_a_setting_without_effect_stops_its_run(monkeypatch):
    threads = torch.get_num_threads()
    for asked in ("ATEN_CPU_CAPABILITY no_such", "ONEDNN_MAX_CPU_ISA no_such"):
        monkeypatch.setenv(portability.ASKED, f"{asked} {threads}")
        with pytest.raises(pytest.UsageError, match="has no effect here: torch computes with"):
            portability.pytest_sessionstart()
    level = torch.backends.cpu.get_cpu_capability().lower()
    monkeypatch.setenv(portability.ASKED, f"ATEN_CPU_CAPABILITY {level} {threads + 1}")
    with pytest.raises(pytest.UsageError, match=f"with {threads + 1} threads has no effect here"):
        portability.pytest_sessionstart()
    monkeypatch.setenv(portability.ASKED, f"ATEN_CPU_CAPABILITY {level} {threads}")
    portability.pytest_sessionstart()


def test_places_of_numeric_tests_are_there_and_none_is_in_another():
    here = portability.ROOT / "tests"
    assert [n for n in NUMERIC if not (here / n).exists()] == []
    assert len({*NUMERIC}) == len(NUMERIC)
    folders = [n for n in NUMERIC if n.endswith("/")]
    assert [n for n in NUMERIC if n.startswith(tuple(folders)) and n not in folders] == []
