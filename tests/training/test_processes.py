"""Two processes on this machine (gloo) train as one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("accelerate")
SCRIPT = Path(__file__).with_name("losses.py")
NAMES = ("plain", "anl", "canl", "canl-half", "lat", "kap", "fgsm-rs")


def run(path, launcher, names):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *launcher, str(SCRIPT), str(path), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    two = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return run(folder / "one", [], NAMES), run(folder / "two", two, NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_give_one_processs_losses(both, name):
    one, two = (b[name] for b in both)
    assert len(one["losses"]) == len(two["losses"]) == 20
    near = 1e-3 if name == "lat" else 1e-5  # the sign of a gradient near 0 is a matter of rounding
    assert two["losses"] == pytest.approx(one["losses"], abs=near)
    assert two["val"] == pytest.approx(one["val"], abs=near)
    assert len(two["caches"]) == len(one["caches"])
    assert two["caches"] == pytest.approx(one["caches"], rel=1e-3, abs=1e-3)
    assert len(set(one["losses"])) == 20
