"""A setting or an argument that is said twice, and not the same: refused, with both named."""

import pytest

import surgeon
from surgeon.errors import RecipeError
from surgeon.recipe import load_recipe
from tests.cli.commandline import invoke

KAP = {"surgery": [{"op": "kap"}, {"op": "kap"}]}


@pytest.mark.parametrize(
    "settings",
    [
        ["kap.kernel_size=3", "kap.kernel_size=5"],
        ["kap#1.kernel_size=3", "kap#1.kernel_size=5"],
        ["kap#1.kernel_size=5", "kap.kernel_size=3"],  # the general one would undo the single one
        ["kap.select.last=2", "kap.select={first: 1}"],
        ["training.epochs=1", "training.epochs=true"],
    ],
)
def test_two_values_are_refused_with_both_named(settings):
    with pytest.raises(RecipeError) as told:
        load_recipe(KAP, settings)
    assert all(repr(s) in str(told.value) for s in settings) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("settings", "words", "both"),
    [
        ({"kap.kernel_size": 5}, {"kernel_size": 3}, ("kap.kernel_size=5", "kernel_size=3")),
        ({"kap.kernel_size": 7, "kernel_size": 5}, {}, ("kap.kernel_size=7", "kernel_size=5")),
        ({"kernel_size": 5, "kap.kernel_size": 7}, {}, ("kernel_size=5", "kap.kernel_size=7")),
        ({"kap#1.kernel_size": 5}, {"kernel_size": 3}, ("kap#1.kernel_size=5", "kernel_size=3")),
        ({"kap.select.skip_last": 1}, {"select": {"first": 1}}, ("kap.select.skip_last=1", "select=")),
    ],
)
def test_python_says_so_too_under_whatever_names(tiny, settings, words, both):
    with pytest.raises(RecipeError, match="say two things of one setting") as told:
        surgeon.plan(tiny, "kap", input_size=(3, 8, 8), settings=settings, **words)
    assert all(b in str(told.value) for b in both) and "\n" not in str(told.value)


def test_what_adds_up_in_python_is_taken_and_a_mapping_stays_as_it_was(tiny):
    select = {"first": 1}
    given = {"kap.kernel_size": 3, "kernel_size": 3, "select": select, "kap.select.every": 2}
    found = surgeon.plan(tiny, "kap", input_size=(3, 8, 8), settings=given).operations["kap"]
    assert found["kernel_size"] == 3 and select == {"first": 1}
    assert (found["select"]["first"], found["select"]["every"]) == (1, 2)


def test_what_is_no_contradiction_is_taken():
    found = load_recipe(KAP, ["kap.kernel_size=3", "kap#2.kernel_size=5", "kap.kernel_size=3"][:2])
    assert [o.kernel_size for o in found.surgery] == [3, 5]
    assert load_recipe(KAP, ["training.lr=0.1", "training.lr=1e-1"]).training.lr == 0.1
    both = load_recipe(KAP, ["kap.select={first: 1}", "kap.select.every=2"]).surgery[0].select
    assert (both.first, both.every) == (1, 2)


@pytest.mark.parametrize(
    ("line", "both"),
    [
        ("plan kap resnet18 --set kap.kernel_size=3 --set kap.kernel_size=5", ("=3", "=5")),
        (
            "apply kap resnet18 --model-arg drop_rate=0.1 --model-arg drop_rate=0.2 -o x",
            ("drop_rate=0.1", "drop_rate=0.2"),
        ),
        ("convert kap w.pth --model-arg drop_rate=0.1 --model-arg drop_rate=0.2 -o x", ("0.1", "0.2")),
        ("evaluate digits-net --eps 8/255 --set eps=0.1 -o x", ("--eps", "--set eps=0.1")),
        (
            "evaluate digits-net --suite basic --set evaluation.suite=quick -o x",
            ("--suite", "suite=quick"),
        ),
        (
            "study kap resnet18 --samples 8 --set evaluation.samples=16 -o x",
            ("--samples", "evaluation.samples=16"),
        ),
    ],
)
def test_the_command_line_names_both(line, both, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, told = invoke(*line.split())
    assert code == 2 and all(b in told for b in both) and "Traceback" not in told
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "both"),
    [
        (["train", "plain", "zoo/lenet5", "--seed", "1", "--seed", "2", "-o", "x"], "--seed 1 and --seed 2"),
        (["train", "plain", "zoo/lenet5", "-o", "x", "-o", "y"], "--output x and --output y"),
        (
            ["evaluate", "zoo/lenet5", "--suite", "basic", "--suite=quick", "-o", "x"],
            "--suite basic and --suite quick",
        ),
        (["evaluate", "zoo/lenet5", "--beyond", "--no-beyond", "-o", "x"], "--beyond and --no-beyond"),
        (
            ["train", "plain", "zoo/lenet5", "--epochs", "1", "--epochs", "2", "-o", "x"],
            "--epochs 1 and --epochs 2",
        ),
        (
            ["reproduce", "run", "kap/table1", "--budget", "smoke", "--budget", "small", "-o", "x"],
            "--budget smoke and",
        ),
    ],
)
def test_an_option_is_given_one_value(arguments, both, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke(*arguments)
    assert (code, out) == (2, "") and both in err and "say two things of one option" in err
    assert err.count("\n") == 1 and not [*tmp_path.iterdir()]


def test_an_option_that_says_one_thing_twice_and_one_that_may_stand_several_times_are_taken():
    code, out, err = invoke(
        "inspect", "zoo/lenet5", "--kind", "conv", "--kind", "conv", "--include", "conv1", "--include", "c*"
    )
    assert code == 0 and "conv2" in out, err
    assert invoke("plan", "--help")[0] == 0
