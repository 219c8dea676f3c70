"""Settings that change nothing are told; every setting of the three parts of a recipe either has an effect, is refused
where it has none, or has a rule that says when."""

import ast
import inspect

import pytest
from torch import nn

from surgeon.cli.settings import of_other_parts
from surgeon.evaluation import unread
from surgeon.pipeline.idle import CALIBRATION, RULES, Facts, facts, of_calibration, without_effect
from surgeon.recipe import Data, Evaluation, Training
from surgeon.recipe.adversary import Adversary
from surgeon.recipe.weights import WeightAverage, WeightPerturbation

ALWAYS = {
    "training": "epochs batch_size accumulate optimizer lr weight_decay schedule warmup_epochs clip_grad ema swa awp "
    "keep pad flip mixup cutmix smoothing adversary channels_last compile",
    "adversary": "method norm eps step_size",
    "awp": "gamma warmup_epochs",
    "swa": "start lr",
    "data": "classes per_class grayscale size",
    "evaluation": "suite norm eps beside mode samples diagnostics beyond shifts keep certify pictures",
}
"""Settings with an effect in every training, on all images, in every evaluation."""
REFUSED = {
    "training": "momentum betas milestones decay_epochs decay_rate transform",
    "adversary": "steps beta noise clean_share",
    "awp": "",
    "swa": "",
    "data": "",
    "evaluation": "",
}
"""Settings that are errors where they would have none: of another optimizer, schedule, method or way of reading."""
PARTS = {
    "training": Training,
    "adversary": Adversary,
    "awp": WeightPerturbation,
    "swa": WeightAverage,
    "data": Data,
    "evaluation": Evaluation,
}


def ruled(part):
    """The settings of a part that a rule names."""
    if part == "evaluation":
        tree = ast.parse(inspect.getsource(unread))
        named = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        return named & {*Evaluation.model_fields} - {*ALWAYS["evaluation"].split()}
    return {r.name.partition(".")[2] for r in RULES if r.name.startswith(f"{part}.")}


@pytest.mark.parametrize("part", PARTS)
def test_every_setting_has_an_effect_or_is_refused_or_has_a_rule(part):
    kinds = [{*ALWAYS[part].split()}, {*REFUSED[part].split()}, ruled(part)]
    assert set.union(*kinds) == {*PARTS[part].model_fields}
    assert sum(map(len, kinds)) == len(PARTS[part].model_fields)  # each in one


BY_NAME = {
    "training.noise_share": ({"noise_share": 1.0}, {}, {"noise": False}, {"noise": True}),
    "training.anneal_share": ({"anneal_share": 0.2}, {}, {"anneals": False}, {"anneals": True}),
    "training.min_lr": ({"min_lr": 0.01, "schedule": "constant"}, {}, {}, {"noise": True}),
    "training.weight_decay_on": ({"weight_decay_on": "all", "weight_decay": 0.0}, {}, {}, None),
    "training.update_norms": ({"update_norms": True, "ema": 0.9}, {}, {"norms": False}, {"norms": True}),
    "training.exact": ({"exact": False}, {}, {}, {"processes": 2}),
    "data.stratified": ({}, {"stratified": False}, {"cut": False}, {"cut": True}),
    "data.val_share": ({}, {"val_share": 0.2}, {"read": "stream"}, {}),
    "data.test_share": ({}, {"test_share": 0.2}, {"read": "stream"}, {}),
    "data.faults": ({}, {"faults": "skip"}, {"read": "digits"}, {}),
    "data.in_memory": ({}, {"in_memory": "never"}, {"read": "stream"}, {}),
}


@pytest.mark.parametrize("name", sorted({r.name for r in RULES}))
def test_a_setting_without_effect_is_told_once_and_one_with_effect_is_not(name):
    training, data, idle, used = BY_NAME[name]
    (said,) = without_effect(Training(**training), Data(**data), Facts(**idle))
    assert said.startswith(f"{name}=") and " changes nothing: " in said
    if used is not None:
        assert without_effect(Training(**training), Data(**data), Facts(**used)) == ()
    assert without_effect(Training(), Data(), Facts(**idle)) == ()  # nobody said a default


def test_a_batch_of_more_images_than_there_are_is_told_with_their_number():
    (said,) = without_effect(Training(batch_size=64), Data(), Facts(images=50))
    assert said == "training.batch_size=64 is more than the 50 training images: each step takes all of them"
    assert without_effect(Training(batch_size=64), Data(), Facts(images=64)) == ()
    assert without_effect(Training(), Data(), Facts(images=50)) == ()


def test_what_decides_it_is_read_off_the_network_and_its_images():
    import surgeon
    from surgeon.data import load_sets

    sets = load_sets("digits", input_size=(1, 32, 32))
    plain = surgeon.create_model("zoo/lenet5", input_size=(1, 32, 32))
    assert facts(plain, sets, "digits") == Facts(norms=False, images=1077, read="digits", cut=False)
    layers = (
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.BatchNorm2d(4),
        nn.Flatten(),
    )
    noisy = surgeon.apply(nn.Sequential(*layers), "anl", input_size=(1, 32, 32))
    assert facts(noisy, sets, "digits").noise and facts(noisy, sets, "digits").norms
    growing = surgeon.apply(plain, "wm-smoothing", input_size=(1, 32, 32), warm_start="anneal")
    assert facts(growing, sets, "digits").anneals


def test_a_source_whose_splits_are_cut_says_so(tmp_path):
    from PIL import Image

    from surgeon.data import load_sets

    for split in ("train", "val", "test"):
        for c in "ab":
            (tmp_path / "whole" / split / c).mkdir(parents=True)
            for i in range(8):
                Image.new("L", (8, 8), hash((split, c, i)) % 256).save(
                    tmp_path / "whole" / split / c / f"{i}.png"
                )
    assert not load_sets(str(tmp_path / "whole")).cut
    assert load_sets(str(tmp_path / "whole" / "train")).cut


def test_parts_that_a_command_does_not_use_are_told():
    given = ("training.lr=0.1", "data.size=[8,8]", "evaluation.eps=0.1", "kap.sigma=0.2")
    for command, parts in (("plan", 3), ("apply", 3), ("convert", 2), ("train", 1), ("run", 0), ("study", 0)):
        assert len(of_other_parts(given, command)) == parts
    assert of_other_parts(given, "train") == [
        "evaluation.eps=0.1 changes nothing: `surgeon train` does not use it; `surgeon run` and `surgeon study` do"
    ]


def test_a_number_of_calibration_images_that_is_another_is_told():
    assert (
        of_calibration(CALIBRATION, None, "why")
        == of_calibration(CALIBRATION, 10)
        == of_calibration(50, 50)
        == ()
    )
    assert of_calibration(50, 49) == (
        "calibration_count=50, and there are 49 images to calibrate on: all of them are used",
    )
    assert of_calibration(5000, 60_000) == (
        "calibration_count=5000: starts are computed from 2,048 of these images at most",
    )
    assert of_calibration(50, None, "the recipe has no surgery") == (
        "calibration_count=50 changes nothing: the recipe has no surgery",
    )


def test_a_command_tells_them_in_one_line_each(tmp_path):
    from click.testing import CliRunner

    from surgeon.cli import group

    order = ["train", "kap", "zoo/lenet5", "--input-size", "1,32,32", "--epochs", "1", "--batch-size", "512"]
    order += ["--calibration-count", "5000"]
    for setting in ("training.noise_share=1", "data.stratified=false", "evaluation.eps=0.1"):
        order += ["--set", setting]
    done = CliRunner().invoke(group, [*order, "-o", str(tmp_path / "run")])
    assert done.exit_code == 0
    said = [line for line in done.stderr.splitlines() if "changes nothing" in line]
    assert [line.partition(" changes")[0] for line in said] == [
        "train: evaluation.eps=0.1",
        "run: --calibration-count 5000",
        "run: training.noise_share=1",
        "run: data.stratified=false",
    ]


def test_a_value_beside_the_search_for_it_is_refused():
    import surgeon
    from surgeon.errors import RecipeError
    from surgeon.methods import parse
    from surgeon.recipe import load_recipe

    network = surgeon.create_model("zoo/lenet5", input_size=(1, 32, 32))

    def notes(**settings):
        return [n.text for n in surgeon.plan(network, "meansparse", **settings).notes if n.code == "idle"]

    given = {"alpha": 0.2, "budget": 0.05, "step": 0.1}
    both = (
        r"alpha=0\.2 is given, and budget=0\.05 and step=0\.1 are of its search: leave one or the other out"
    )
    with pytest.raises(RecipeError, match=both):
        notes(**given)
    with pytest.raises(RecipeError, match=both):
        load_recipe("meansparse", [f"meansparse.{k}={v}" for k, v in given.items()])
    with pytest.raises(RecipeError, match=r"beta=2 is given, and budget=0\.1 is of its search"):
        parse({"op": "smooth-activation", "beta": 2.0, "budget": 0.1})
    # What an earlier surgery recorded loads: a record names every field.
    written = {**parse({"op": "meansparse", "alpha": 0.2}).model_dump(mode="json"), "budget": 0.05}
    assert parse(written).budget == 0.05
    assert notes(start="identity", step=0.1, most=2.0) == [
        "step=0.1 and most=2 are of the search for α and change nothing: start=identity leaves α at 0"
    ]
    assert notes(alpha=0.2) == notes(budget=0.05) == []


def test_epochs_without_noise_at_a_rate_of_zero_are_told():
    """As in canl+fast-at, whose parts are each right by themselves."""
    noisy = Facts(noise=True)
    given = Training(epochs=5, min_lr=0, noise_share=0.5)
    (told_once,) = (r for r in without_effect(given, Data(), noisy) if "without a step" in r)
    assert told_once.startswith("training.min_lr=0 leaves the last 2 of 5 epochs without a step")
    for other in (
        Training(epochs=5, min_lr=0, noise_share=1),
        Training(epochs=5, min_lr=1e-3, noise_share=0.5),
        Training(epochs=5, min_lr=0, noise_share=0.5, swa=WeightAverage(lr=0.01)),
    ):
        assert not [r for r in without_effect(other, Data(), noisy) if "without a step" in r]
    assert not [r for r in without_effect(given, Data(), Facts()) if "without a step" in r]


def test_a_root_beside_a_source_that_says_where_it_lies_is_refused(tmp_path):
    from surgeon.errors import DataError
    from surgeon.pipeline.demands import to_train_on
    from tests.cli.commandline import invoke

    (tmp_path / "flowers").mkdir()
    for data in (str(tmp_path / "flowers"), "digits", None):
        with pytest.raises(
            DataError, match="root='/nowhere' changes nothing: .* says by itself where it is; leave it"
        ):
            to_train_on("zoo/lenet5", data, "/nowhere")
    assert to_train_on("zoo/lenet5", "torch/cifar10", "/nowhere").root == "/nowhere"
    code, out, err = invoke("train", "plain", "zoo/lenet5", "--root", "/nowhere", "-o", tmp_path / "run")
    assert (code, out) == (2, "") and "--root /nowhere changes nothing" in err
