"""Sizes: fractions are read wherever one is given, and more than pixels can change is refused wherever one is given."""

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from surgeon.errors import RecipeError, SurgeonError
from surgeon.quantities import Quantity, number
from surgeon.recipe import Adversary, Evaluation, load_recipe, schema
from tests.cli.commandline import invoke

LEVELS = "write 8/255 for 8 of 255 levels"


def test_a_text_is_a_number_or_a_fraction():
    assert number("8/255") == number(" 8 / 255 ") == 8 / 255 and number("0.5") == 0.5 and number(0.5) == 0.5
    assert number("-2/4") == -0.5
    for wrong in (
        "8/0",
        "8/",
        "/255",
        "a",
        "",
        "nan",
        "inf",
        "1/2/3",
        "8%",
        "8_0/255",
        "1_0",
        "8/inf",
        "8/-inf",
        "8/1e400",
        "nan/8",
        "1e400/1e400",
    ):
        with pytest.raises(ValueError, match="is not a number; write for instance 8/255 or 0.5"):
            number(wrong)


def test_what_is_too_small_to_be_stored_is_no_zero():
    for text in ("1e-400", "1e-400/255", "-0.1e-500", "1e-300/1e300"):
        with pytest.raises(ValueError, match="closer to 0 than any number that can be stored; write 0 if"):
            number(text)
    assert number("0e9") == number("0.00/255") == 0


def test_zero_has_no_sign():
    for given in ("-0", "-0/255", "0/-255", -0.0):
        assert str(TypeAdapter(Quantity).validate_python(given)) == "0.0"


def test_fractions_are_read_wherever_a_size_is_given(tmp_path):
    given = Evaluation(eps="8/255", gaussian=("1/10",), uniform=("1/2",), certify=("1/4",))
    assert (given.eps, given.gaussian, given.uniform, given.certify) == (8 / 255, (0.1,), (0.5,), (0.25,))
    assert Adversary(eps="8/255", step_size="2/255") == Adversary(eps=8 / 255, step_size=2 / 255)
    (tmp_path / "mine.yaml").write_text(
        "extends: at-pgd\nsurgery: [{op: adversarial-noise, epsilon: 3/100}, {op: noise, "
        "sigma: 1/8, input_sigma: 1/4}]\n"
        "training: {adversary: {eps: 4/255}}\nevaluation: {eps: 2/255}\n"
    )
    found = load_recipe(tmp_path / "mine.yaml", ["noise.sigma=1/16"])
    assert (found.training.adversary.eps, found.evaluation.eps) == (4 / 255, 2 / 255)
    assert (found.surgery[0].epsilon, found.surgery[1].sigma, found.surgery[1].input_sigma) == (
        0.03,
        1 / 16,
        0.25,
    )
    settings = ["training.adversary.eps=8/255", "evaluation.eps=8/255"]
    found = load_recipe("at-pgd", settings)
    assert found.training.adversary.eps == found.evaluation.eps == 8 / 255
    assert {t["type"] for t in schema()["$defs"]["Adversary"]["properties"]["eps"]["anyOf"]} == {
        "number",
        "string",
    }


@pytest.mark.parametrize(
    "settings",
    [["training.adversary.eps=8"], ["evaluation.eps=8"], ["evaluation.eps=8", "evaluation.norm=linf"]],
)
def test_more_than_pixels_can_change_is_refused_in_settings(settings):
    with pytest.raises(RecipeError, match=f"eps=8 in linf is more than pixels can change.*{LEVELS}"):
        load_recipe("at-pgd", settings)


def test_an_l2_ball_may_be_larger_than_1():
    assert (
        load_recipe(
            "at-pgd", ["training.adversary.eps=8", "training.adversary.norm=l2"]
        ).training.adversary.eps
        == 8
    )
    assert Evaluation(eps=8, norm="l2").eps == 8 and Evaluation(eps=4, suite="paper").eps == 4


def test_more_than_pixels_can_change_is_refused_in_python():
    from surgeon.evaluation import Attack, certify, diagnose
    from surgeon.evaluation.attacks.pgd import pgd
    from surgeon.evaluation.suites import size_of

    model, x, y = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.rand(2, 1, 2, 2), torch.tensor([0, 1])
    calls = [
        lambda: Attack(name="pgd", kind="own-pgd", eps=8),
        lambda: diagnose(model, x, y, eps=8.0),
        lambda: pgd(model, x, y, eps=8.0, steps=1),
        lambda: Evaluation(eps=8),
        lambda: size_of(Evaluation(suite="paper", paper="anl", eps=8)),
    ]
    for call in calls:
        with pytest.raises((ValueError, SurgeonError), match=f"eps=8 in linf .*{LEVELS}"):
            call()
    for call in (
        lambda: certify(model, x, y, sigma=64.0),
        lambda: Evaluation(certify=(64,)),
        lambda: Evaluation(gaussian=(64,)),
    ):
        with pytest.raises((ValueError, SurgeonError), match="sigma=64 of noise on pixels .*write 64/255"):
            call()
    with pytest.raises(SurgeonError, match="greater than 0"):
        Evaluation(certify=(0,))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["evaluate", "zoo/lenet5", "--data", "digits", "--eps", "8"], LEVELS),
        (["evaluate", "zoo/lenet5", "--data", "digits", "--set", "eps=8"], LEVELS),
        (["evaluate", "zoo/lenet5", "--data", "digits", "--certify", "64"], "write 64/255"),
        (["study", "kap", "zoo/lenet5", "--eps", "8"], LEVELS),
        (["run", "kap", "zoo/lenet5", "--set", "evaluation.eps=8"], LEVELS),
        (["train", "at-pgd", "zoo/lenet5", "--set", "training.adversary.eps=8"], LEVELS),
        (
            ["evaluate", "zoo/lenet5", "--data", "digits", "--eps", "8/x"],
            "'8/x' is not a size; write for instance 8/255",
        ),
    ],
    ids=lambda v: " ".join(v[:1] + v[-1:]) if isinstance(v, list) else None,
)
def test_more_than_pixels_can_change_is_refused_on_the_command_line(tmp_path, args, message):
    pytest.importorskip("accelerate")
    code, _, err = invoke(*args, "-o", tmp_path / "out")
    assert code == 2 and message in err.replace("\n", " ") and not (tmp_path / "out").exists(), err
