"""Benchmarks at small size, so that they cannot rot."""

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
