"""The kinds of cut, and which recipe stands for its kind on a model.

What a recipe's plan does to a small network says which kind it is of: nothing here has to know a new recipe.
"""

from __future__ import annotations

import functools
from collections import Counter

import torch
from torch import Tensor, nn

import surgeon
from surgeon.edits import Plan
from surgeon.errors import SelectionError
from surgeon.recipe import load_recipe, shipped
from surgeon.selection import INPUT

SIZE = (3, 16, 16)
IDENTITY: dict[str, list[str]] = {
    **dict.fromkeys(("kap", "kap-1d", "kap-gaussian", "kmp"), ["kap.start=anneal", "kap.sigma=0"]),
    **dict.fromkeys(("noise", "input-noise"), ["noise.sigma=1e-30", "noise.input_sigma=1e-30"]),
    **dict.fromkeys(("anl", "canl", "lat", "gaussian"), ["adversarial-noise.epsilon=0"]),
    **dict.fromkeys(("defective", "defective-same", "defective-channel"), ["defective.keep=1"]),
    **dict.fromkeys(
        ("wm-smoothing", "wm-unsharp", "wm-smoothing-all", "wm-unsharp-all"), ["weight-map.start=anneal"]
    ),
    "parametric-noise": ["parametric-noise.alpha=0"],
    "meansparse": ["meansparse.start=identity"],
}
"""Settings at which a recipe's layers change nothing, of those that need some. See `identity`."""

OTHER_SHAPES = ("blur-pool", "soft-pool")
"""Recipes that fold into stock modules of other shapes: larger kernels, convolutions in place of poolings."""


VARIANTS = {"anl norms=any": ("anl", "adversarial-noise.norms=any")}
"""Recipes with settings that give them a place in more models, by the name that their rows have."""


@functools.cache
def recipes() -> tuple[str, ...]:
    """The shipped recipes that cut something."""
    return tuple(r for r in shipped() if load_recipe(r).surgery)


class Small(nn.Module):
    """A network with a place for every recipe: a large stem, convolutions, norms (or none), activations."""

    def __init__(self, norms: bool = True) -> None:
        super().__init__()
        norm = nn.BatchNorm2d if norms else lambda channels: nn.Identity()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 5, 2, 2), norm(16)
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.conv2, self.bn2 = nn.Conv2d(16, 16, 3, padding=1), norm(16)
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.act(self.bn1(self.conv1(x))))
        return self.fc(self.act(self.bn2(self.conv2(x))).mean((2, 3)))


@functools.cache
def kinds() -> dict[str, tuple[str, ...]]:
    """Every recipe that cuts, by the kind of most of its edits: "behind conv", "in place of activation" and so on."""
    by_kind: dict[str, list[str]] = {}
    for recipe in recipes():
        by_kind.setdefault(_kind(recipe), []).append(recipe)
    return {kind: tuple(of) for kind, of in sorted(by_kind.items())}


def _kind(recipe: str) -> str:
    model = Small()
    sites = {site.name: site.kind for site in surgeon.sites(model, input_size=SIZE)}
    edits = _planned(recipe, model).edits
    inner = [e for e in edits if e.site != INPUT] or edits
    places = Counter(
        f"{'in place of' if e.replaces else 'before' if e.before else 'behind'} {sites[e.site]}"
        for e in inner
    )
    return max(sorted(places), key=places.__getitem__)


@functools.cache
def needs_norm(recipe: str) -> bool:
    """Whether a recipe has no place in a network without norms."""
    try:
        _planned(recipe, Small(norms=False))
    except SelectionError:
        return True
    return False


@functools.cache
def identity(recipe: str) -> list[str] | None:
    """Settings at which a recipe's layers change nothing, in no mode; None: other kernels, another stem."""
    if recipe in IDENTITY:
        return IDENTITY[recipe]
    made = _planned(recipe, Small())
    return [] if made.effect == "exact" and made.traits.stochastic == "never" else None


@functools.cache
def draws(recipe: str) -> bool:
    """Whether a recipe's layers draw in training even at `identity`, so that dropout draws something else."""
    cut = surgeon.apply(Small(), load_recipe(recipe, identity(recipe) or ()), input_size=SIZE).train()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        cut(torch.zeros(2, *SIZE))
        return not torch.equal(before, torch.get_rng_state())


def _planned(recipe: str, model: nn.Module) -> Plan:
    return surgeon.plan(model, recipe, input_size=SIZE, trained=False)


def representatives(number: int) -> set[str]:
    """The recipes that go through all stages on the model with this number: one of each of two kinds."""
    turn, groups = number // len(kinds()), list(kinds().values())
    chosen = (groups[number % len(groups)], groups[(number + 2) % len(groups)])
    return {kind[turn % len(kind)] for kind in chosen}
