"""What a recipe can say of rates, decay and optimizers: as torch's own, and contradictions with both sides named."""

import pytest
import torch
from torch import nn

from surgeon.data import Images
from surgeon.errors import RecipeError
from surgeon.recipe import Training, WeightAverage, load_recipe
from surgeon.training import fit
from surgeon.training.schedule import schedule
from surgeon.training.setup import make_optimizer

pytest.importorskip("accelerate")


def rates(settings, steps=4):
    """The rates of all steps."""
    model = nn.Linear(2, 2)
    optimizer = make_optimizer(model, settings)
    set_rate, found = schedule(optimizer, settings), []
    for step in range(settings.epochs * steps):
        set_rate(step / steps, [])
        found.append(optimizer.param_groups[0]["lr"])
    return found


def torchs(settings, milestones, factor, steps=4):
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=settings.lr)
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, factor)
    found = []
    for _ in range(settings.epochs):
        found += [optimizer.param_groups[0]["lr"]] * steps
        optimizer.step()
        theirs.step()
    return found


@pytest.mark.parametrize(
    ("given", "epochs", "milestones", "factor"),
    [
        ({}, 8, [4, 6], 0.1),
        ({"milestones": (3, 5)}, 8, [3, 5], 0.1),
        ({"milestones": (3, 5), "decay_rate": 0.3}, 8, [3, 5], 0.3),
        ({"milestones": (0.25, 0.8333)}, 12, [3, 10], 0.1),
        ({"milestones": ()}, 4, [], 0.1),
    ],
)
def test_milestones_are_those_of_torchs_multistep(given, epochs, milestones, factor):
    settings = Training(epochs=epochs, lr=0.2, min_lr=0, schedule="multistep", **given)
    assert rates(settings) == pytest.approx(torchs(settings, milestones, factor), rel=1e-12)


def test_step_decays_every_so_many_epochs():
    settings = Training(epochs=7, lr=0.2, min_lr=0, schedule="step", decay_epochs=2, decay_rate=0.5)
    wanted = [0.2 * 0.5 ** (e // 2) for e in range(7) for _ in range(4)]
    assert rates(settings) == pytest.approx(wanted)


def test_a_rate_that_rises_reaches_its_height_and_falls_from_there():
    settings = Training(epochs=10, lr=0.2, min_lr=0, schedule="linear", warmup_epochs=4)
    found = rates(settings)
    assert max(found) == found[16] == pytest.approx(0.2)
    assert found[:17] == pytest.approx([0.2 * k / 16 for k in range(17)])
    assert found[16:] == pytest.approx([0.2 * (1 - k / 24) for k in range(24)])


def test_betas_and_what_decays_reach_the_optimizer():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    adam = make_optimizer(model, Training(optimizer="adam", lr=1e-3, betas=(0.5, 0.99), weight_decay=0.1))
    assert all(g["betas"] == (0.5, 0.99) for g in adam.param_groups)
    decays = {g["weight_decay"]: sum(p.numel() for p in g["params"]) for g in adam.param_groups}
    assert decays == {0.1: 18, 0.0: 6}
    whole = make_optimizer(model, Training(weight_decay=0.1, weight_decay_on="all"))
    assert [(g["weight_decay"], sum(p.numel() for p in g["params"])) for g in whole.param_groups] == [
        (0.1, 24)
    ]


@pytest.mark.parametrize(("name", "momentum"), [("momentum", 0.5), ("sgd", 0.0), ("sgd", 0.5)])
def test_momentum_is_what_it_is_set_to(name, momentum):
    made = make_optimizer(nn.Linear(2, 2), Training(optimizer=name, momentum=momentum))
    assert {g["momentum"] for g in made.param_groups} == {momentum}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("milestones=[3]",), "milestones=[3] and schedule='cosine': multistep takes milestones"),
        (("decay_epochs=3", "schedule=multistep"), "decay_epochs=3 and schedule='multistep': step takes"),
        (
            ("decay_rate=0.5", "schedule=linear"),
            "decay_rate=0.5 and schedule='linear': step and multistep take",
        ),
        (("decay_epochs=100", "schedule=step"), "decay_epochs=100 and epochs=10: the rate never falls"),
        (("milestones=[5,3]", "schedule=multistep"), "milestones=[5, 3] do not rise"),
        (("milestones=[0.5,5]", "schedule=multistep"), "milestones=[0.5, 5] do not rise, over epochs=10"),
        (
            ("milestones=[3,10]", "schedule=multistep"),
            "milestones=[3, 10] and epochs=10: the last is never reached",
        ),
        (
            ("milestones=[3,6,8]", "schedule=multistep"),
            "min_lr=0.001 is above the rate that milestones=[3, 6, 8] leads to, 0.0001: set min_lr=0",
        ),
        (("decay_rate=1",), "training.decay_rate"),
        (("milestones=[0]", "schedule=multistep"), "training.milestones"),
        (("betas=[1.0,0.9]", "optimizer=adam"), "training.betas"),
        (("weight_decay_on=none",), "training.weight_decay_on"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(RecipeError) as caught:
        load_recipe("plain", [f"training.{s}" for s in settings])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_betas_of_an_optimizer_without_any_are_refused():
    data, model = (
        Images(torch.rand(4, 1, 2, 2), torch.arange(4) % 2),
        nn.Sequential(nn.Flatten(), nn.Linear(4, 2)),
    )
    with pytest.raises(RecipeError, match=r"betas=\[0.9, 0.99\] and optimizer='sgd', which takes no betas"):
        fit(model, data, None, Training(betas=(0.9, 0.99)))
    with pytest.raises(RecipeError, match=r"betas=\[0.9\] and optimizer='adamw', which takes 2 betas"):
        fit(model, data, None, Training(optimizer="adamw", betas=(0.9,)))


def test_the_averages_own_rate_holds_from_its_start_on():
    settings = Training(epochs=4, lr=0.1, schedule="linear", swa=WeightAverage(start=0.5, lr=0.07))
    assert rates(settings)[8:] == [0.07] * 8 and rates(settings)[7] != 0.07


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer": "adahessian"}, "adahessian' takes derivatives of gradients"),
        ({"optimizer": "nesterov", "momentum": 0.0}, "cannot be made here with momentum=0.0, .*Nesterov"),
        ({"optimizer": "lookahead_nesterov", "momentum": 0.0}, "cannot be made here with momentum=0.0"),
        ({"optimizer": "fusedadam"}, "'fusedadam' cannot be made here"),
        ({"optimizer": "bnbadam8bit"}, "'bnbadam8bit' cannot be made here"),
        ({"optimizer": "adamm"}, "did you mean 'adam"),
    ],
    ids=str,
)
def test_an_optimizer_that_cannot_be_made_is_told_in_the_words_of_the_settings(settings, words):
    with pytest.raises(RecipeError, match=words):
        make_optimizer(nn.Linear(1, 1), Training(epochs=1, **settings))
