"""`surgeon train`: the folder it leaves, going on, and what it refuses."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import surgeon
from surgeon.cli import main
from tests.killed import killed

for package in ("accelerate", "sklearn"):
    pytest.importorskip(package)

ROOT = Path(__file__).parents[2]
BATCHES = ["--set", "training.batch_size=32"]
QUICK = ["--set", "training.epochs=4", *BATCHES]
SMALL = ["zoo/lenet5", "--input-size", "1,28,28"]
LENET = [*SMALL, *QUICK]


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
    command = [
        "train",
        "anl",
        *SMALL,
        *BATCHES,
        *steady,
        "--set",
        "adversarial-noise.after=conv",
        "-o",
        folder,
    ]
    code, out, err = run(*command)
    assert code == 0, err
    assert "trained/ holds the network" in out
    settings, made = (json.loads((folder / f"{n}.json").read_text()) for n in ("settings", "made"))
    assert settings["recipes"][0]["surgery"][0]["after"] == "conv"
    assert settings["training"]["epochs"] == 6
    assert {"surgeon", "torch", "timm", "accelerate"} <= set(made["versions"])
    rows = list(csv.DictReader((folder / "training" / "metrics.csv").open()))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
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
    assert "holds a run with other settings (seed); seed is 0 there, and 1 now; choose another folder" in err


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
    assert rows[-1]["val_loss"] < float(before[0]["val_loss"])
    assert 0 <= rows[-1]["val_robust"] <= 1
    code, _, err = run("train", "kap", first / "trained", "--input-size", "1,28,28", "-o", tmp_path / "cut")
    assert code == 2
    assert "is a folder, whose network is trained as it is: use the recipe 'plain'" in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--device", "cuda"], "device='cuda' is not there"),
        (["--set", "training.schedule=cosin"], "schedule='cosin' is not known"),
        (["--device", ""], "--device is empty, as an unset variable of the shell is"),
        (["--device", "nowhere"], "device 'nowhere' cannot be used: it is not a name of one"),
        (
            ["--set", "training.batch_size=99999999999999999999"],
            "batch_size=99999999999999999999 is larger than",
        ),
        (["--set", "training.optimizer=adamm"], "optimizer='adamm' is not known"),
        (
            ["--set", "training.epoch=3"],
            "unknown key 'training.epoch'; did you mean 'epochs' or 'decay_epochs' or 'warmup_epochs'?",
        ),
        (["--set", "training.adversary.method=pdg"], "training.adversary.method"),
        (["--num-classes", "3"], "--num-classes 3, and the data have 10 classes"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, more, message):
    if torch.cuda.is_available() and "cuda" in more:
        pytest.skip("the device is there")
    given = [] if "batch_size" in message else BATCHES
    code, _, err = run("train", "plain", *SMALL, "--epochs", "4", *given, *more, "-o", tmp_path / "run")
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_killed_it_goes_on_and_two_processes_train_the_same_network(run, tmp_path):
    """To the last bit after a kill; by two processes as near as float64 is, since they add in another order."""
    network = ["tests.sensitivity:Exact", "--input-size", "1,16,16", "--device", "cpu", "--save-every", 0]
    short = ["--set", "adversarial-noise.after=conv", "--set", "training.epochs=2"]
    command = ["train", "canl", *network, *short, "--set", "training.batch_size=128", "-o"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "ACCELERATE_USE_CPU": "true",
    }
    code, _, err = run(*command, tmp_path / "whole")
    assert code == 0, err
    killed(*command, tmp_path / "killed")
    assert not (tmp_path / "killed" / "trained").exists()
    code, _, err = run(*command, tmp_path / "killed")
    assert code == 0, err
    one, other = (tmp_path / f / "trained" / "model.safetensors" for f in ("whole", "killed"))
    assert one.read_bytes() == other.read_bytes()
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == sorted(
        p.name for p in (tmp_path / "whole").iterdir()
    )
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    pair = subprocess.run(
        [*two, "-m", "surgeon", *map(str, command), str(tmp_path / "pair")],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert pair.returncode == 0, pair.stderr[-2000:]
    assert pair.stdout.count("epoch 1:") == 1
    losses = [
        [float(r["loss"]) for r in csv.DictReader((tmp_path / f / "training" / "metrics.csv").open())]
        for f in ("whole", "pair")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0, abs=1e-9) and losses[0][1] < losses[0][0]
    trained = [load_file(tmp_path / f / "trained" / "model.safetensors") for f in ("whole", "pair")]
    for name, weight in trained[0].items():
        torch.testing.assert_close(trained[1][name], weight, rtol=0, atol=1e-9)
    assert (
        surgeon.load(tmp_path / "pair" / "trained", allow_code=["tests.sensitivity"]).surgery
        == surgeon.load(tmp_path / "whole" / "cut", allow_code=["tests.sensitivity"]).surgery
    )
