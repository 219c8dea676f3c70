"""What an evaluation's further parts cost: the attacker who knows the surgery, and one curve of distances."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

import surgeon
from benchmarks.timing import Asked, Row
from surgeon.data import digits
from surgeon.errors import MissingPackageError
from surgeon.evaluation import Attack, Normalized, assess, evaluate
from surgeon.recipe import Evaluation, Training
from surgeon.results.distances import distance_curves
from surgeon.training import fit

EPS = 0.1
SWEEP = tuple(0.02 * k for k in range(1, 17))
"""The sizes at which both curves are told."""


def measure(asked: Asked) -> Iterator[Row]:
    """Each once: a suite is minutes, and both sides of a row run one after the other. Small: a tenth of the steps."""
    network, x, y = trained_cnn(8 if asked.small else 64)
    yield _adaptive(network, x, y, asked.small)
    with contextlib.suppress(MissingPackageError):  # adv-lib is optional
        yield _curve(network, x, y, asked.small)


def _adaptive(network: nn.Module, x: Tensor, y: Tensor, small: bool) -> Row:
    """A network that does not fold; the suite `standard` with and without the attacker who knows the cut."""
    cut = surgeon.apply(network, "meansparse", input_size=tuple(x.shape[1:]), calibration=x)
    seconds = []
    for adaptive in (False, True):
        settings = Evaluation(
            suite="quick" if small else "standard",
            eps=EPS,
            adaptive=adaptive,
            diagnostics=0,
            beyond=False,
            pictures=False,
        )
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            assess(cut, x, y, settings, Path(folder) / "evaluation")
            seconds.append(time.perf_counter() - began)
    ratio = seconds[1] / seconds[0]
    return Row(
        "evaluation, who knows the cut",
        f"MeanSparse in a small CNN, {len(x)} digits",
        "standard by itself",
        ratio,
        ratio,
        ratio,
        seconds[1],
        seconds[0],
    )


def _curve(network: nn.Module, x: Tensor, y: Tensor, small: bool) -> Row:
    """FMN once, against APGD-CE at each of the sizes, told at the same sizes.

    A step of each goes before, untimed: the first use of adv-lib imports torchvision's models, seconds that a
    process pays once, however many images it attacks.
    """
    model, less = Normalized(network), 10 if small else 1
    fmn = Attack(name="fmn", kind="fmn", steps=200 // less)
    sweep = [Attack(name="apgd-ce", kind="apgd", eps=e, steps=100 // less, cascade=False) for e in SWEEP]
    evaluate(model, x[:2], y[:2], [one.model_copy(update={"steps": 1}) for one in (fmn, sweep[0])])
    began = time.perf_counter()
    (curve,) = distance_curves(evaluate(model, x, y, [fmn]), SWEEP)
    own = time.perf_counter() - began
    began = time.perf_counter()
    outcome = evaluate(model, x, y, sweep)
    base = time.perf_counter() - began
    fallen = {e: sum(v.success for v in outcome if v.eps == e) for e in SWEEP}
    right = sum(not v.success for v in outcome if v.attack == "none")
    apart = [p.share.k - (right - fallen[p.eps]) for p in curve.points]
    return Row(
        "evaluation, accuracy by ε",
        f"FMN in Linf, {len(x)} digits",
        f"APGD-CE at {len(SWEEP)} ε",
        base / own,
        base / own,
        base / own,
        own,
        base,
        more=True,
        note=f"images that stand, the curve's less the sweep's: {min(apart):+d} to {max(apart):+d}",
    )


def trained_cnn(count: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A small CNN trained on the digits, and `count` test images with their labels."""
    torch.manual_seed(0)
    sets = digits(8)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 16, 10),
    )
    fit(model, sets["train"], None, Training(epochs=8, batch_size=64, lr=0.05))
    return model.eval(), sets["test"].x[:count], sets["test"].y[:count]
