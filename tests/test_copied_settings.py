"""Copies of settings with other values are checked as the settings themselves are."""

import pytest

from surgeon.errors import ArgumentError, RecipeError
from surgeon.evaluation import Attack
from surgeon.recipe import Adversary, Evaluation, Training, load_recipe

TRAINING = Training(epochs=1, lr=0.1, adversary=Adversary(method="pgd", eps=0.1, steps=3))
ATTACK = Attack(name="pgd", kind="own-pgd", eps=0.1, steps=3)


@pytest.mark.parametrize(
    ("settings", "update", "says"),
    [
        (TRAINING, {"learning_rate": 0.5}, "unknown key 'learning_rate'"),
        (TRAINING, {"keep": "BEST"}, "keep: Input should be 'last' or 'best'"),
        (TRAINING, {"weight_decay": -1.0}, "weight_decay: Input should be greater"),
        (TRAINING, {"warmup_epochs": 5}, "warmup_epochs=5 leaves nothing of epochs=1"),
        (TRAINING, {"lr": "0.1"}, "lr: Input should be a valid number"),
        (TRAINING, {"epochs": 2.5}, "epochs: Input should be a valid integer"),
        (TRAINING.adversary, {"method": "PGD"}, "method: Input should be"),
        (TRAINING.adversary, {"eps": -0.1}, "eps: "),
        (Evaluation(), {"epsilon": 0.3}, "unknown key 'epsilon'"),
        (ATTACK, {"step_size": -0.01}, "step_size: Input should be greater"),
        (ATTACK, {"early_stop": "perhaps"}, "early_stop: Input should be a valid boolean"),
        (ATTACK, {"eps": True}, "eps: True is not a number"),
        (ATTACK, {"kind": "nope"}, "no attack is of the kind 'nope'"),
        (ATTACK, {"seed": -1}, "seed: Input should be greater than or equal to 0"),
        (ATTACK, {"eps": None}, "eps is missing"),
    ],
)
def test_values_that_do_not_fit_are_refused(settings, update, says):
    with pytest.raises((RecipeError, ArgumentError), match=says):
        settings.model_copy(update=update)


def test_values_that_fit_are_taken_as_they_are_read():
    assert ATTACK.model_copy(update={"eps": "8/255"}).eps == 8 / 255
    assert TRAINING.model_copy(update={"epochs": 3}) == Training(
        epochs=3, lr=0.1, adversary=TRAINING.adversary
    )
    assert TRAINING.model_copy(update={"epochs": 3}).model_fields_set == {"epochs", "lr", "adversary"}
    assert TRAINING.model_copy(deep=True) == TRAINING and TRAINING.model_copy() is not TRAINING


@pytest.mark.parametrize("make", [Attack, Adversary])
@pytest.mark.parametrize(
    ("size", "says"),
    [(2, "step_size=2 in linf .* write 2/255"), (1e-9, "step_size: 1e-09 is less than pixels can move")],
)
def test_steps_in_levels_or_that_move_no_pixel_are_refused(make, size, says):
    kind = {"name": "pgd", "kind": "own-pgd"} if make is Attack else {"method": "pgd"}
    with pytest.raises((RecipeError, ArgumentError), match=says):
        make(**kind, eps=8 / 255, steps=5, step_size=size)
    assert make(**kind, eps=3, norm="l2", steps=5, step_size=2).step_size == 2


def test_copies_of_recipes_and_of_their_operations_are_checked():
    recipe = load_recipe("kap")
    with pytest.raises(RecipeError, match="surgery must be a list of operations"):
        recipe.model_copy(update={"surgery": "kap"})
    with pytest.raises(RecipeError, match="unknown key 'kernelsize'; did you mean 'kernel_size'"):
        recipe.surgery[0].model_copy(update={"kernelsize": 5})


def test_a_suite_of_several_seeds_goes_on_from_the_highest():
    from surgeon.arguments import SEEDS
    from surgeon.evaluation import suite
    from surgeon.methods.registry import papers

    for paper in papers():
        assert suite(Evaluation(suite="paper", paper=paper), classes=10, random=True, seed=SEEDS - 1)
