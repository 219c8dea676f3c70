"""Settings that are made in Python and do not fit are errors of surgeon in one line, as those of files are."""

import copy
import pickle

import pytest
from pydantic import ValidationError

from surgeon import SurgeonError
from surgeon.errors import ArgumentError, RecipeError, SelectionError
from surgeon.evaluation import Attack
from surgeon.methods.registry import get, names
from surgeon.recipe import Adversary, Data, Evaluation, Recipe, Training
from surgeon.selection import Selector


@pytest.mark.parametrize(
    ("cls", "given", "error", "told"),
    [
        (Attack, {"name": "x", "kind": "fgsm", "eps": 8}, ArgumentError, "eps=8 in linf is more"),
        (Attack, {"name": "x", "kind": "fgsn", "eps": 0.1}, ArgumentError, "fgsn"),
        (Attack, {"name": "x", "kind": "fgsm", "epsilon": 0.1}, ArgumentError, "did you mean 'eps'"),
        (Adversary, {"eps": 8}, RecipeError, "eps=8 in linf is more"),
        (Training, {"lr": "fast"}, RecipeError, "lr: .* \\(got 'fast'\\)"),
        (Training, {"epoch": 3}, RecipeError, "unknown key 'epoch'; did you mean 'epochs'"),
        (Evaluation, {"suite": "fast"}, RecipeError, "suite"),
        (Evaluation, {"eps": 0}, RecipeError, "eps: .* greater than 0"),
        (Evaluation, {"norm": "union", "union": {"l2": 0}}, RecipeError, "union.l2: .* greater than 0"),
        (Evaluation, {"eps": 1e-30}, RecipeError, "eps: .*1e-30 is less than pixels can move"),
        (Evaluation, {"norm": "l2", "eps": "1e-9"}, RecipeError, "eps: .*1e-09 is less than pixels can move"),
        (Evaluation, {"norm": "union", "union": {"l1": 1e-9}}, RecipeError, "union.l1: .* less than pixels"),
        (Adversary, {"eps": 1e-12}, RecipeError, "eps: .* less than pixels can move"),
        (
            Attack,
            {"name": "x", "kind": "fgsm", "eps": 5e-8},
            ArgumentError,
            "eps: .* less than pixels can move",
        ),
        (
            Evaluation,
            {"gaussian": ("nan", 0.5)},
            RecipeError,
            "gaussian.0: 'nan' is not a number; write for instance",
        ),
        (Evaluation, {"gaussian": (0.1, 0.1)}, RecipeError, r"gaussian=\[0.1, 0.1\] has a point twice"),
        (Evaluation, {"patches": (2, 4, 2)}, RecipeError, "patches=.* has a point twice"),
        (Evaluation, {"": 5}, RecipeError, "unknown key ''; valid"),
        (Data, {"size": (16,)}, RecipeError, "size is too short: number 2 is missing"),
        (Data, {"classes": ("a", "a")}, RecipeError, "names a class twice"),
        (Data, {"classes": ("a", 1)}, RecipeError, "classes.1"),
        (Recipe, {"name": "r", "training": {"lr": "x"}}, RecipeError, "training.lr"),
        (Selector, {"every": 0}, SelectionError, "every"),
    ],
)
def test_settings_that_do_not_fit_are_told_in_one_line(cls, given, error, told):
    with pytest.raises(error, match=f"^{cls.__name__}: .*{told}") as caught:
        cls(**given)
    assert "\n" not in str(caught.value) and "http" not in str(caught.value)
    with pytest.raises(ValidationError):  # what reads a file knows the place, and tells it itself
        cls.model_validate(given)


def test_the_least_size_is_what_moves_a_pixel():
    import numpy

    from surgeon.quantities import LEAST

    pixels = numpy.linspace(0.5, 1, 1001, dtype=numpy.float32)[:-1]
    assert (pixels + numpy.float32(LEAST) > pixels).all() and Evaluation(eps=LEAST).eps == LEAST
    assert (pixels + numpy.float32(0.49 * LEAST) == pixels).all()


@pytest.mark.parametrize("name", names())
def test_so_are_those_of_every_operation(name):
    with pytest.raises(SurgeonError, match="unknown key 'no_such_setting'"):
        get(name)(no_such_setting=1)


def test_settings_are_copied_and_pickled_as_before():
    made = Attack(name="x", kind="fgsm", eps="8/255")
    assert made.eps == 8 / 255 and pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made
    assert Training(epochs=2).model_copy(update={"epochs": 3}).epochs == 3
