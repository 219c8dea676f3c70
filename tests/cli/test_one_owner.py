"""A run's folder among processes and signals: one owner, one content, and the same network after every end."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.started import Started, command_line

for package in ("accelerate", "sklearn"):
    pytest.importorskip(package)

TRAIN = [
    "train",
    "canl",
    "zoo/lenet5",
    "--input-size",
    "1,28,28",
    "--set",
    "adversarial-noise.after=conv",
    "--set",
    "training.epochs=3",
    "--set",
    "training.batch_size=32",
    "--device",
    "cpu",
]


def start(*command):
    return Started(command_line, *map(str, command))


def launched(*command):
    """Two processes of torch's launcher."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "ACCELERATE_USE_CPU": "true",
    }
    two = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    return subprocess.Popen(
        [sys.executable, *two, "-m", "surgeon", *map(str, command)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(there, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not there() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert there(), process.communicate()[1] if process.poll() is not None else "not in time"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The network of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = start(*TRAIN, "-o", folder)
    assert done.wait(200) == 0, done.said()
    return (folder / "trained" / "model.safetensors").read_bytes()


def test_two_trainings_in_one_folder_are_one_and_a_refusal(tmp_path, whole):
    folder = tmp_path / "run"
    one = start(*TRAIN, "-o", folder)
    until(lambda: (tmp_path / ".surgeon-lock-run").exists(), one)
    for more in (["--seed", "1"], []):
        other = start(*TRAIN, *more, "-o", folder)
        out, err = other.communicate(timeout=200)
        if one.poll() is None:
            assert other.returncode == 2 and len(err.splitlines()) == 1, err
            assert f"{folder} is in use by process {one.pid} on " in err
    assert one.wait(200) == 0, one.said()
    assert json.loads((folder / "settings.json").read_text())["seed"] == 0
    assert (folder / "trained" / "model.safetensors").read_bytes() == whole
    again = start(*TRAIN, "--seed", "1", "-o", folder)
    assert again.wait(200) == 2 and "holds a run with other settings (seed)" in again.said()
    assert sorted(os.listdir(tmp_path)) == ["run"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_and_the_same_command_goes_on_to_the_same_network(tmp_path, whole, number):
    folder = tmp_path / "run"
    one = start(*TRAIN, "-o", folder, "--save-every", 1000)
    metrics = folder / "training" / "metrics.csv"
    until(metrics.exists, one)  # an epoch is done, the next has begun
    one.send_signal(number)
    out, err = one.communicate(timeout=100)
    assert one.returncode == 128 + number, (out, err)
    told = err.splitlines()[-1]
    assert told.startswith(f"stopped by {number.name}: {folder} keeps what was finished, up to epoch ")
    assert told.endswith("; the same command goes on") and "Traceback" not in err
    assert not (folder / "trained").exists()
    state = torch.load(folder / "training" / "checkpoint.pt", weights_only=True)["progress"]
    assert f"up to epoch {state['epoch']}, step {state['step']} of 34" in told
    again = start(*TRAIN, "-o", folder)
    assert again.wait(200) == 0, again.said()
    assert (folder / "trained" / "model.safetensors").read_bytes() == whole
    assert len(list(csv.DictReader(metrics.open()))) == 3
    assert not list(tmp_path.rglob(".surgeon-*"))


def test_under_a_launcher_every_process_stops_and_they_go_on(tmp_path):
    folder = tmp_path / "run"
    pair = launched(*TRAIN, "-o", folder, "--save-every", 1000)
    until((folder / "training" / "metrics.csv").exists, pair)
    pair.send_signal(signal.SIGTERM)
    out, err = pair.communicate(timeout=100)
    assert pair.returncode != 0 and "keeps what was finished, up to epoch" in err, err
    assert not (folder / "trained").exists() and (folder / "training" / "checkpoint.pt").exists()
    again = launched(*TRAIN, "-o", folder)
    out, err = again.communicate(timeout=200)
    assert again.returncode == 0, err
    assert (folder / "trained").is_dir() and not list(tmp_path.rglob(".surgeon-*"))


def test_an_evaluation_that_is_stopped_goes_on(tmp_path):
    pytest.importorskip("torchattacks")
    import surgeon

    surgeon.save(surgeon.create_model("zoo/lenet5", input_size=(1, 28, 28), num_classes=10), tmp_path / "net")
    command = [
        "evaluate",
        tmp_path / "net",
        "--data",
        "digits",
        "--suite",
        "basic",
        "--samples",
        "256",
        "--eps",
        "0.1",
        "--device",
        "cpu",
        "-o",
        tmp_path / "e",
    ]
    one = start(*command, "--set", "steps=2000")
    until((tmp_path / "e" / "attacks").is_dir, one)
    one.send_signal(signal.SIGTERM)
    _, err = one.communicate(timeout=100)
    assert (
        one.returncode == 143
        and f"stopped by SIGTERM: {tmp_path / 'e'} keeps what was finished; the same" in err
    )
    assert json.loads((tmp_path / "e" / "settings.json").read_text())["evaluation"]["steps"] == 2000
    busy = start(*command, "--set", "steps=2000")
    until((tmp_path / ".surgeon-lock-e").exists, busy)
    busy.send_signal(signal.SIGKILL)
    busy.wait()
    other = start(*command, "--set", "steps=2")
    assert other.wait(100) == 2 and "holds an evaluation with other settings (evaluation)" in other.said()
