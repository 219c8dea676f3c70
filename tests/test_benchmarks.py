"""Benchmarks at small size, so that they cannot rot."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.__main__ import ALL
from benchmarks.growth import Curve
from benchmarks.timing import Row, row, turns

ROOT = Path(__file__).parents[1]


def test_every_group_gives_ratios(tmp_path):
    out = tmp_path / "bench.json"
    command = [sys.executable, "-m", "benchmarks", *ALL, "--small", "--repeats", "1", "--output", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    groups = json.loads(out.read_text())["groups"]
    assert tuple(groups) == ALL
    for group in groups.values():
        assert group["rows"] and group["made"]["torch"]
        assert all(r["ratio"] > 0 for r in group["rows"])
    for text in ("KAP folded", "plan + apply anl", "surgeon --help", "certification", "torchattacks"):
        assert text in done.stdout


def test_ratios_are_of_the_same_turn_and_bars_know_their_side():
    r = replace(row("g", "what", "base", [2.0, 4.0, 60.0], [1.0, 2.0, 20.0]), bar=2.0)
    assert (r.ratio, r.kept, r.seconds, r.baseline) == (2.0, True, 4.0, 2.0)
    faster = replace(row("g", "what", "base", [1.0, 2.0], [3.0, 6.0], more=True), bar=4.0)
    assert (faster.ratio, faster.kept) == (3.0, False)
    assert Row("g", "w", "a", 1.0, 1.0, 1.0, 1.0, 1.0).kept is None


def test_tasks_take_turns_and_the_first_warms_up():
    order = []
    tasks = {name: (lambda name=name: order.append(name)) for name in "ab"}
    taken = turns(tasks, 3)
    assert "".join(order) == "aabb" + "a" * 20 + "b" * 40 + "a" * 40 + "b" * 20
    assert {name: len(times) for name, times in taken.items()} == {"a": 3, "b": 3}
    order.clear()
    assert [len(times) for times in turns(tasks, 1).values()] == [1, 1] and order == ["a", "b"]


def test_the_equations_as_written_are_the_layers():
    import torch

    from benchmarks.rows.maps import as_written
    from surgeon.methods.weight_map.module import WeightMap2d

    for mode in ("smoothing", "unsharp"):
        layer = WeightMap2d(3, 4, (5, 6), 3, padding=1, mode=mode, bias=False).double()
        x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
        torch.testing.assert_close(as_written(layer, layer.by_channels().contiguous(), x), layer(x))


def test_an_unknown_group_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "nothing"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 2
    assert "invalid choice" in done.stderr


def test_growth_gives_exponents_and_a_picture(tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks.growth",
        "--small",
        "--repeats",
        "1",
        "--output",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "exponent" in done.stdout and "processes" in done.stdout
    assert len(json.loads((tmp_path / "growth.json").read_text())) == 7
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_an_exponent_is_the_slope():
    curve = Curve("what", "n", (1, 2, 4, 8), (5.0, 5.0, 20.0, 80.0))
    assert abs(curve.exponent - 2) < 1e-9


def test_the_page_has_marks_for_its_tables():
    text = page.PAGE.read_text(encoding="utf-8")
    for mark in ("bench", "growth", "scale"):
        assert "| new |" in page.between(text, mark, "| new |")
    with pytest.raises(ValueError, match="no marks for nothing"):
        page.between(text, "nothing", "")


def test_machines_are_told_once():
    several = [
        {"device": "a", "torch": "2", "speed": 1.5},
        {"device": "b", "torch": "3", "threads": 2},
        {"device": "a", "torch": "1", "speed": 3},
    ]
    assert page.machines(several) == "device a, torch 2 and 1, speed 1.5 to 3; device b, torch 3, threads 2"


def test_lines_are_kept_as_they_come_where_there_are_none_to_lose(tmp_path, monkeypatch):
    from benchmarks import __main__ as bench

    class Broken:
        @staticmethod
        def measure(asked):
            yield Row("g", f"turn {len(told)}", "a", 1.0, 1.0, 1.0, 0.002, 0.001)
            raise KeyboardInterrupt

    told, out = [], tmp_path / "bench.json"
    monkeypatch.setitem(sys.modules, "benchmarks.rows.maps", Broken)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "maps", "--small", "--output", str(out)])
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            bench.main()
        told.append("again")
    (line,) = json.loads(out.read_text())["groups"]["maps"]["rows"]
    assert line["what"] == "turn 0"  # the second run had lines to lose
