"""The kinds of cut, and which recipe stands for its kind on a model."""

from __future__ import annotations

import functools

from surgeon.recipe import load_recipe, shipped

KINDS = {
    "behind convolutions": (
        "kap",
        "noise",
        "kap-1d",
        "kmp",
        "defective",
        "defective-same",
        "defective-channel",
        "kap-gaussian",
        "squeeze-excite",
    ),
    "behind batch norms": ("anl", "canl", "lat", "gaussian", "advprop"),
    "in place of convolutions": (
        "wm-smoothing",
        "wm-unsharp",
        "wm-smoothing-all",
        "wm-unsharp-all",
        "kap-ensemble",
        "parametric-noise",
    ),
    "at the input": ("input-noise", "wm-input-scale"),
    "before activations": ("meansparse",),
    "in place of activations": ("kwta", "smooth-activation"),
    "at strides and poolings": ("blur-pool", "soft-pool"),
    "of weights alone": ("small-image", "smooth-init"),
}
"""Every recipe that cuts belongs to one."""

IDENTITY: dict[str, list[str]] = {
    **dict.fromkeys(("kap", "kap-1d", "kap-gaussian", "kmp"), ["kap.start=anneal", "kap.sigma=0"]),
    **dict.fromkeys(("noise", "input-noise"), ["noise.sigma=1e-30", "noise.input_sigma=1e-30"]),
    **dict.fromkeys(("anl", "canl", "lat", "gaussian"), ["adversarial-noise.epsilon=0"]),
    **dict.fromkeys(("defective", "defective-same", "defective-channel"), ["defective.keep=1"]),
    **dict.fromkeys(
        ("wm-smoothing", "wm-unsharp", "wm-smoothing-all", "wm-unsharp-all"), ["weight-map.start=anneal"]
    ),
    **dict.fromkeys(("wm-input-scale", "advprop", "squeeze-excite"), []),
    "parametric-noise": ["parametric-noise.alpha=0"],
    "meansparse": ["meansparse.start=identity"],
}
"""Settings at which a recipe's layers change nothing. The others have none: other kernels, another stem."""

OTHER_SHAPES = ("blur-pool", "soft-pool")
"""Recipes that fold into stock modules of other shapes: larger kernels, convolutions in place of poolings."""

DRAWS = ("noise", "input-noise", "gaussian", "parametric-noise")
"""Recipes whose layers draw in training even where nothing comes of it, so that dropout draws something else."""


@functools.cache
def recipes() -> tuple[str, ...]:
    """The shipped recipes that cut something."""
    return tuple(r for r in shipped() if load_recipe(r).surgery)


def representatives(number: int) -> set[str]:
    """The recipes that go through all stages on the model with this number: one of each of two kinds."""
    turn, kinds = number // len(KINDS), list(KINDS.values())
    chosen = (kinds[number % len(kinds)], kinds[(number + 2) % len(kinds)])
    return {kind[turn % len(kind)] for kind in chosen}
