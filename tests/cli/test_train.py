"""`surgeon train`: the folder it leaves, going on, and what it refuses."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

import surgeon
from surgeon.cli import main

for package in ("accelerate", "sklearn"):
    pytest.importorskip(package)

QUICK = ["--set", "training.epochs=4", "--set", "training.batch_size=32"]
LENET = ["zoo/lenet5", "--input-size", "1,28,28", *QUICK]


@pytest.fixture
def run(capsys):
    def call(*args):
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in args])
            raise SystemExit(0)
        out = capsys.readouterr()
        return stop.value.code or 0, out.out, out.err

    return call


def test_a_run_leaves_its_settings_versions_metrics_and_networks(run, tmp_path):
    folder = tmp_path / "run"
    steady = ["--set", "training.lr=0.05", "--set", "training.noise_share=1.0", "--set", "training.epochs=6"]
    command = ["train", "anl", *LENET, *steady, "--set", "adversarial-noise.after=conv", "-o", folder]
    code, out, err = run(*command)
    assert code == 0, err
    assert "trained/ holds the network" in out
    settings, made = (json.loads((folder / f"{n}.json").read_text()) for n in ("settings", "made"))
    assert settings["recipes"][0]["surgery"][0]["after"] == "conv"
    assert settings["training"]["epochs"] == 6
    assert {"surgeon", "torch", "timm", "accelerate"} <= set(made["versions"])
    rows = list(csv.DictReader((folder / "training" / "metrics.csv").open()))
    assert float(rows[-1]["val_accuracy"]) > 0.5
    network = surgeon.load(folder / "trained")
    assert len(network.surgery.edits) == 2
    last = load_file(folder / "training" / "last.safetensors")
    assert all(torch.equal(v, last[k]) for k, v in network.state_dict().items())
    assert surgeon.load(folder / "cut").surgery == network.surgery
    written = (folder / "training" / "metrics.csv").stat().st_mtime_ns
    code, again, _ = run(*command)
    assert (code, again) == (0, out.splitlines()[-1] + "\n") or code == 0
    assert [float(r["loss"]) for r in csv.DictReader((folder / "training" / "metrics.csv").open())] == [
        float(r["loss"]) for r in rows
    ]
    assert written
    code, _, err = run(*command, "--seed", 1)
    assert code == 2
    assert "holds a run with other settings (seed); choose another folder" in err


def test_a_network_that_was_trained_is_trained_on(run, tmp_path):
    first = tmp_path / "first"
    code, _, err = run("train", "plain", *LENET, "-o", first)
    assert code == 0, err
    assert type(surgeon.load(first / "trained")).__name__ == "LeNet5"
    code, out, err = run(
        "train",
        "at-fgsm",
        first / "trained",
        "--input-size",
        "1,28,28",
        *QUICK,
        "-o",
        tmp_path / "on",
        "--json",
    )
    assert code == 0, err
    rows = json.loads(out[out.index("[\n") :])
    before = list(csv.DictReader((first / "training" / "metrics.csv").open()))
    assert rows[-1]["val_accuracy"] > float(before[0]["val_accuracy"])
    assert rows[-1]["val_robust"] > 0
    code, _, err = run("train", "kap", first / "trained", "--input-size", "1,28,28", "-o", tmp_path / "cut")
    assert code == 2
    assert "is a folder, whose network is trained as it is: use the recipe 'plain'" in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--device", "cuda"], "device='cuda' is not there"),
        (["--set", "training.schedule=cosin"], "schedule='cosin' is not known"),
        (
            ["--set", "training.epoch=3"],
            "unknown key 'training.epoch'; did you mean 'epochs' or 'warmup_epochs'?",
        ),
        (["--set", "training.adversary.method=pdg"], "training.adversary.method"),
        (["--num-classes", "3"], "--num-classes 3, and the data have 10 classes"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, more, message):
    if torch.cuda.is_available() and "--device" in more:
        pytest.skip("the device is there")
    code, _, err = run("train", "plain", *LENET, *more, "-o", tmp_path / "run")
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def processes(command, launcher=()):
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "ACCELERATE_USE_CPU": "true",
    }
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "surgeon", *map(str, command)], env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_killed_it_goes_on_and_two_processes_train_the_same_network(run, tmp_path):
    short = ["--set", "adversarial-noise.after=conv", "--set", "training.epochs=2", "--save-every", 0.05]
    command = ["train", "canl", *LENET, *short, "--device", "cpu", "-o"]
    two = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    code, _, err = run(*command, tmp_path / "whole")
    assert code == 0, err
    killed = processes([*command, tmp_path / "killed"])
    checkpoint = tmp_path / "killed" / "training" / "checkpoint.pt"
    deadline = time.monotonic() + 100
    while not checkpoint.exists() and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert checkpoint.exists() and killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    code, _, err = run(*command, tmp_path / "killed")
    assert code == 0, err
    one, other = (tmp_path / f / "trained" / "model.safetensors" for f in ("whole", "killed"))
    assert one.read_bytes() == other.read_bytes()
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == sorted(
        p.name for p in (tmp_path / "whole").iterdir()
    )
    pair = processes([*command, tmp_path / "pair"], two)
    out, _ = pair.communicate(timeout=200)
    assert pair.returncode == 0, out
    first = [
        next(csv.DictReader((tmp_path / f / "training" / "metrics.csv").open())) for f in ("whole", "pair")
    ]
    assert float(first[0]["loss"]) == pytest.approx(float(first[1]["loss"]), abs=1e-5)
    assert out.count("epoch 1:") == 1
    assert (
        surgeon.load(tmp_path / "pair" / "trained").surgery
        == surgeon.load(tmp_path / "whole" / "cut").surgery
    )
