"""Benchmarks and sweep at small size, so that they cannot rot."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_benchmark_prints_ratios(tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "--batch",
        "4",
        "--repeats",
        "1",
        "--output",
        str(tmp_path / "b.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "b.json").read_text())["rows"]
    assert len(rows) == 9 and all(r["ratio"] > 0 for r in rows)


def test_the_sweep_goes_on_where_it_stopped(tmp_path):
    out = tmp_path / "sweep.jsonl"
    command = [
        sys.executable,
        "-m",
        "benchmarks.sweep",
        "--models",
        "resnet10t",
        "--recipes",
        "anl,wm-smoothing-all",
        "--output",
        str(out),
    ]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(r["model"], r["recipe"], r["outcome"]) for r in rows] == [
        ("resnet10t", "anl", "ok"),
        ("resnet10t", "wm-smoothing-all", "ok"),
    ]
