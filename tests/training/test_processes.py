"""Two processes on this machine (gloo) train as one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import surgeon
from tests.sensitivity import apart, reach

pytest.importorskip("accelerate")
ROOT = Path(__file__).parents[2]
NAMES = (
    "plain",
    "anl",
    "canl",
    "canl-half",
    "lat",
    "kap",
    "fgsm-rs",
    "trades",
    "fgsm-rs-dual",
    "trades-dual",
    "n-fgsm",
    "mart",
    "awp",
    "awp-anl",
    "swa",
)
NEAR = 1e-9
"""In float64, after 15 steps: a million times what rounding does there."""
OTHER = ("trades-kap", "canl-apart")
"""What each process draws or measures by itself: noise beside TRADES, and all of it where `exact` is off."""
SINGLE = ("single-canl",)
BROKEN = ("broken-first", "broken-last")
OWN = ("ddp-anl", "ddp-canl", "fsdp-anl", "fsdp-canl")


def run(path, launcher, names):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *launcher, "-m", "tests.training.losses", str(path), *names]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=600, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(path.read_text())


def test_two_processes_train_as_one(tmp_path):
    """All in one test: both runs take a while, and each worker of the suite would make its own."""
    folder = tmp_path
    two = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    names = (*NAMES, *OWN, *OTHER, *SINGLE, *BROKEN)
    moved = [f"{name}-{seed}" for name in SINGLE for seed in range(3)]
    both = run(folder / "one", [], (*names, *moved)), run(folder / "two", two, names)
    for check, its in (
        (_same, NAMES),
        (_found, OWN),
        (_other, OTHER),
        (_rounded, SINGLE),
        (_stopped, BROKEN),
    ):
        for name in its:
            check(both, name)


def _same(both, name):
    one, two = (b[name] for b in both)
    assert len(one["losses"]) == len(two["losses"]) == 15
    assert two["losses"] == pytest.approx(one["losses"], rel=0, abs=NEAR), name
    assert two["val"] == pytest.approx(one["val"], rel=0, abs=NEAR), name
    near = 1e-3 if name == "canl-half" else NEAR  # a number between two of 16 bits may become either
    assert two["caches"] == pytest.approx(one["caches"], rel=near), name
    assert len(set(one["losses"])) == 15


def _found(both, name):
    one, two = (b[name] for b in both)
    assert len(set(one["losses"])) == 8
    assert two["losses"] == pytest.approx(one["losses"], rel=0, abs=NEAR), name
    assert two["caches"] == pytest.approx(one["caches"], rel=NEAR), name
    assert bool(one["caches"]) == name.endswith("canl")


def _other(both, name):
    """The same training with other draws; so the losses of others are not equal by being all alike."""
    one, two = (b[name] for b in both)
    assert two["losses"] == pytest.approx(one["losses"], rel=0.3), name
    assert apart(one["losses"], two["losses"]) > 1000 * NEAR


def _rounded(both, name):
    """In float32: as near as rounding leaves them, as far as this machine takes it."""
    one, two = (b[name]["losses"] for b in both)
    far = reach(one, lambda seed: both[0][f"{name}-{seed}"]["losses"])
    assert apart(one, two) < far < apart(*(b["canl-apart"]["losses"] for b in both)), name


def _stopped(both, name):
    one, two = (b[name] for b in both)
    assert one.startswith(
        "the loss is nan in epoch 0, step 1, at learning rate 0.0255: it is in the images already"
    )
    assert two.startswith("the loss is nan in epoch 0, step 1, at learning rate 0.0255: it ")


def test_a_fully_sharded_training_is_stored_whole_and_taken_back(tmp_path):
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*two, str(Path(__file__).with_name("sharded.py")), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    stock = surgeon.create_model("zoo/lenet5", num_classes=5).state_dict()
    assert {k: v.shape for k, v in state["model"].items()} == {k: v.shape for k, v in stock.items()}


@pytest.mark.skipif(torch.accelerator.is_available(), reason="two processes would want two cards")
@pytest.mark.parametrize("differing", ["", "seed", "images"])
def test_processes_share_a_training_that_was_not_told_where_to_run(tmp_path, differing):
    environment = {k: v for k, v in os.environ.items() if k != "ACCELERATE_USE_CPU"} | {
        "OMP_NUM_THREADS": "1"
    }
    two = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [
        sys.executable,
        *two,
        "-m",
        "tests.training.undirected",
        str(tmp_path),
        *filter(None, [differing]),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=600, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    what = {"": "", "seed": "seed: 0 there, 1 here", "images": "images"}[differing]
    for counts, said in (json.loads((tmp_path / rank).read_text()) for rank in "01"):
        assert said.startswith("process 1 is given another training than process 0 (") == bool(differing)
        assert what in said and (differing or counts == [8, 8, 8])
    # gloo's threads may abort a process whose interpreter is taken down while they run
    assert [(tmp_path / f"{rank}-left").read_text() for rank in "01"] == ["True", "True"]
