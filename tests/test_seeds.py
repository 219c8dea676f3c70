"""One kind of seed for all: whole numbers from 0 to 2³² − 1, in Python and on the command line."""

import importlib

import click
import pytest
import torch

import surgeon
from surgeon.arguments import SEEDS
from surgeon.cli import COMMANDS
from surgeon.data import Images, drawn, held_out, images, labelled, load_sets
from surgeon.errors import SurgeonError
from surgeon.evaluation.beyond.corruptions import corrupt
from surgeon.evaluation.beyond.patch_shuffle import patch_shuffle
from surgeon.recipe import Training, load_recipe
from tests.cli.commandline import invoke

BAD = ("1", 2**64, SEEDS, -1, True, 1.5, None)
SET = Images(torch.rand(8, 3, 8, 8), torch.arange(8) % 5)
GRAY = torch.rand(1, 1, 8, 8)


def fit(seed, tiny):
    from surgeon.training import fit

    return fit(tiny, SET, None, Training(epochs=1), seed=seed, progress=False)


def train(seed, tiny):
    from surgeon.pipeline import train

    return train([load_recipe("plain")], "zoo/lenet5", "never-written", seed=seed)


def study(seed, tiny):
    from surgeon.pipeline import study

    return study([load_recipe("kap")], "zoo/lenet5", "never-written", seed=seed)


def evaluate_target(seed, tiny):
    from surgeon.pipeline import evaluate_target
    from surgeon.recipe import Evaluation

    return evaluate_target("zoo/lenet5", "never-written", Evaluation(), seed=seed)


def demo(seed, tiny):
    from surgeon.demo import run

    return run("never-written", seed=seed)


DOORS = {
    "plan": lambda s, m: surgeon.plan(m, "kap", input_size=(3, 8, 8), seed=s),
    "apply": lambda s, m: surgeon.apply(m, "kap", input_size=(3, 8, 8), seed=s),
    "load_sets": lambda s, m: load_sets("digits", seed=s),
    "held_out": lambda s, m: held_out("digits", (1, 8, 8), seed=s),
    "images": lambda s, m: images("digits", 3, (1, 8, 8), seed=s),
    "labelled": lambda s, m: labelled("digits", (1, 8, 8), seed=s),
    "drawn": lambda s, m: drawn(SET, 3, seed=s),
    "corrupt": lambda s, m: corrupt(GRAY, "fog", 1, seed=s),
    "patch_shuffle": lambda s, m: patch_shuffle(GRAY, 2, seed=s),
    "fit": fit,
    "train": train,
    "study": study,
    "evaluate_target": evaluate_target,
    "demo": demo,
}


@pytest.mark.parametrize("door", DOORS)
def test_each_door_has_the_same_seeds(tiny, door, tmp_path, monkeypatch):
    pytest.importorskip("accelerate")
    pytest.importorskip("torchattacks")
    monkeypatch.chdir(tmp_path)
    for seed in BAD:
        with pytest.raises(
            SurgeonError, match=rf"^seed={seed!r} is not a seed: give a whole number from 0 to 4,294,967,295$"
        ):
            DOORS[door](seed, tiny)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("door", ["plan", "apply", "images", "drawn", "corrupt", "patch_shuffle", "fit"])
def test_the_highest_seed_works_everywhere(tiny, door):
    pytest.importorskip("accelerate")
    assert DOORS[door](SEEDS - 1, tiny) is not None


def test_a_study_says_at_once_that_its_last_seed_is_none(tmp_path, monkeypatch):
    pytest.importorskip("accelerate")
    pytest.importorskip("torchattacks")
    from surgeon.pipeline import study

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SurgeonError, match="the last seed=4294967296 is not a seed"):
        study([load_recipe("kap")], "zoo/lenet5", "never-written", seed=SEEDS - 2, seeds=3)
    for seeds in (0, 1.5, True):
        with pytest.raises(SurgeonError, match=f"seeds={seeds!r} must be a whole number, 1 or more"):
            study([load_recipe("kap")], "zoo/lenet5", "never-written", seeds=seeds)


def test_every_command_has_the_same_seeds():
    found = set()
    for name in COMMANDS:
        command = importlib.import_module(f"surgeon.cli.{name.replace('-', '_')}").command
        every = [command, *getattr(command, "commands", {}).values()]
        for option in (p for c in every for p in c.params if p.name == "seed"):
            found.add(name)
            assert isinstance(option.type, click.IntRange)
            assert (option.type.min, option.type.max) == (0, SEEDS - 1)
    assert found >= {"apply", "plan", "train", "run", "study", "evaluate", "convert", "demo"}


@pytest.mark.parametrize("seed", ["-1", "4294967296", "1.5", "one"])
def test_a_seed_that_is_none_is_one_line(seed):
    code, _, err = invoke("plan", "kap", "zoo/lenet5", "--seed", seed)
    assert code == 2
    assert err.startswith("Error: Invalid value for '--seed': ") and err.count("\n") == 1
