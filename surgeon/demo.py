"""A complete example in a few minutes, on real scans: train, rewrite, fine-tune, attack and compare."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

import surgeon
from surgeon.arguments import checked_seed
from surgeon.data import Images, digits
from surgeon.disk.files import write_csv, write_json
from surgeon.effects import EFFECT_TEXT, worst
from surgeon.errors import VerificationError
from surgeon.evaluation import (
    Attack,
    Normalized,
    Share,
    evaluate,
    evaluated,
    noise_accuracy,
    suite,
    summarize,
    wilson,
)
from surgeon.evaluation.attacks.pgd import pgd
from surgeon.evaluation.engine.scoring import check_adversarial
from surgeon.host import in_own_state
from surgeon.models.creating import create_model
from surgeon.models.quiet import held_still
from surgeon.ownership import new_folder
from surgeon.recipe import Evaluation, Training
from surgeon.store.artifact import load, save
from surgeon.surgery import apply
from surgeon.training.loop import fit
from surgeon.training.validation import validate

SIZE = (1, 32, 32)
MODEL = "resnet18"
CHANNELS = (16, 32, 64, 128)
METHODS = ("noise", "kap", "wm-smoothing", "wm-unsharp", "anl", "canl", "defective")
SIGMA, EPS, STEPS = 0.2, 0.1, 20
SEEDS, CALIBRATION = 3, 256


class Over(BaseModel):
    """An accuracy over seeds, with its 95 % interval: Wilson's of all images together, or, where that is wider,
    Student's of the seeds' means, which is what another processor may give."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float
    images: int
    seeds: int


class Row(BaseModel):
    """One row of the demo's table. Accuracies are on test images; `start` is before fine-tuning.

    `noise`, `fgsm` and `pgd` are of different test images with each seed, all of them together once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    parameters: float
    flops: float
    effect: str
    folds: str
    start: float
    clean: Over
    noise: Over
    fgsm: Over
    pgd: Over
    seconds: float


class _Tested(NamedTuple):
    """What one seed gives."""

    network: nn.Module
    start: float
    clean: Share
    noise: Share
    fgsm: Share
    pgd: Share


@in_own_state(training=True)
def run(folder: str | Path, *, seed: int = 0, quick: bool = False, overwrite: bool = False) -> list[Row]:
    """Run the demo into a folder: table.json, table.csv, adversarial.png, and a loadable network per method.

    A narrow ResNet-18 (timm) is trained on scikit-learn's digits at 32×32 with three seeds and rewritten by each method
    with the recipes of this package. Each network is fine-tuned for as long as a stock copy, and tested on a third of
    the test images, another one with each seed, with Gaussian noise σ = 0.2, FGSM and PGD-20 within Linf ε = 0.1 by
    torchattacks. Folder and pictures have the networks of the first seed.

    Args:
        folder: Where the results go.
        seed: The first seed; the others follow.
        quick: Train less, with one seed, on fewer methods and test images.
        overwrite: Replace an existing folder of the demo.

    Returns:
        The rows of the table.

    Raises:
        ArtifactError: `folder` exists already.
        VerificationError: A saved network does not load as it was saved.

    Examples:
        >>> from surgeon.demo import run
        >>> rows = run("runs/demo", quick=True)  # doctest: +SKIP
    """
    seed, sets = checked_seed(seed), digits(SIZE[1], seed=0)
    seeds = [seed] if quick else [(seed + k) % 2**32 for k in range(SEEDS)]
    train, val, test = sets["train"], sets["val"], sets["test"]
    parts = (
        [Images(test.x[:64], test.y[:64])]
        if quick
        else [Images(test.x[k :: len(seeds)], test.y[k :: len(seeds)]) for k in range(len(seeds))]
    )
    first = Training(epochs=1 if quick else 5, batch_size=64, lr=0.1, min_lr=1e-3)
    after = Training(epochs=1 if quick else 3, batch_size=64, lr=0.05, min_lr=1e-3)
    rows: list[Row] = []
    pictures: dict[str, tuple[Tensor, Tensor]] = {}
    bases: list[nn.Module] = []
    with new_folder(folder, "demo", overwrite=overwrite) as work:
        for method in ("stock", "stock, fine-tuned", *(METHODS[1:5:3] if quick else METHODS)):
            began = time.perf_counter()
            tested: list[_Tested] = []
            for number, part in zip(seeds, parts, strict=True):
                if method == "stock":
                    network = _trained(train, val, first, number)
                    bases.append(network)
                    start = validate(network, part, "cpu")[1]
                else:
                    network, start = _tuned(method, bases[len(tested)], train, val, part, after, number)
                tested.append(_test(network, start, part, number))
            rows.append(_row(method, tested, time.perf_counter() - began))
            network = tested[0].network
            if method in METHODS:
                _save_and_check(network, work / "models" / method, test.x[:16])
            if method != "stock":
                pictures[method] = _adversarial(network, test, seed)
        _draw(pictures, test, work / "adversarial.png")
        _write(rows, work, seeds, quick)
    return rows


def _trained(train: Images, val: Images, settings: Training, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    base = create_model(MODEL, num_classes=10, in_chans=1, input_size=SIZE, model_args={"channels": CHANNELS})
    fit(base, train, val, settings, seed=seed, label=f"stock, seed {seed}")
    return base


def _tuned(
    method: str,
    base: nn.Module,
    train: Images,
    val: Images,
    part: Images,
    settings: Training,
    seed: int,
) -> tuple[nn.Module, float]:
    """The network cut by a method and fine-tuned, and its accuracy between the two."""
    if method in METHODS:
        images = train.x[:CALIBRATION]
        network: nn.Module = apply(base, method, input_size=SIZE, seed=seed, trained=True, calibration=images)
    else:
        network = load_copy(base)
    start = validate(network, part, "cpu")[1]
    fit(network, train, val, settings, seed=seed, label=f"{method}, seed {seed}")
    return network.eval(), start


def load_copy(model: nn.Module) -> nn.Module:
    """Return an independent copy of a stock network.

    Args:
        model: The network.

    Returns:
        The copy.
    """
    import copy

    return copy.deepcopy(model)


def _test(network: nn.Module, start: float, part: Images, seed: int) -> _Tested:
    subject = Normalized(evaluated(network, part.x[:16]))
    attacks = suite(Evaluation(attacks=("fgsm", "pgd"), norm="linf", eps=EPS, steps=STEPS), seed=seed)
    summary = summarize(evaluate(subject, part.x, part.y, attacks, seed=seed))
    right = noise_accuracy(subject, part.x, part.y, [SIGMA], seed=seed)[0]
    noise = wilson(round(right * len(part.y)), len(part.y))
    return _Tested(network, start, summary.clean, noise, summary.robust["fgsm"], summary.robust["pgd"])


def over(shares: Sequence[Share]) -> Over:
    """Return the mean of the shares of several seeds, with its 95 % interval.

    Args:
        shares: One a seed, of as many images each up to one.

    Returns:
        The mean, between the lower and the upper end of the wider interval: Wilson's of all images together, or
        Student's of the seeds.

    Examples:
        >>> from surgeon.evaluation import wilson
        >>> result = over([wilson(4, 120), wilson(12, 120), wilson(2, 120)])
        >>> result.value, round(result.low, 3), round(result.high, 3)
        (0.05, 0.0, 0.16)
    """
    together = wilson(sum(s.k for s in shares), sum(s.n for s in shares))
    low, high = together.low, together.high
    if len(shares) > 1:
        from scipy.stats import t

        spread = stdev(s.value for s in shares) / len(shares) ** 0.5
        half = float(t.ppf(0.975, len(shares) - 1)) * spread
        low, high = min(low, together.value - half), max(high, together.value + half)
    return Over(
        value=together.value, low=max(0.0, low), high=min(1.0, high), images=together.n, seeds=len(shares)
    )


def _row(method: str, tested: Sequence[_Tested], seconds: float) -> Row:
    records: list[Any] = [getattr(t.network, "surgery", None) for t in tested]
    record = records[0]
    effect = worst(r.effect for r in records) if record else None
    return Row(
        method=method,
        parameters=record.factor("parameters") if record else 1.0,
        flops=record.factor("flops") if record else 1.0,
        effect=EFFECT_TEXT[effect].split(" (")[0] if effect else "",
        folds="stock" if record is None else record.stock.partition(",")[0],
        start=fmean(t.start for t in tested),
        clean=over([t.clean for t in tested]),
        noise=over([t.noise for t in tested]),
        fgsm=over([t.fgsm for t in tested]),
        pgd=over([t.pgd for t in tested]),
        seconds=seconds,
    )


def _save_and_check(network: nn.Module, folder: Path, images: Tensor) -> None:
    save(network, folder)
    again = load(folder)
    with held_still(network), torch.no_grad():
        if not torch.equal(again(images), network(images)):
            raise VerificationError(f"{folder.name} does not load as it was saved")


def _adversarial(network: nn.Module, test: Images, seed: int) -> tuple[Tensor, Tensor]:
    """The first eight test images under PGD, (8, 1, 32, 32), and the network's predictions, (8,)."""
    x, y = test.x[:8], test.y[:8]
    with held_still(network, seed):
        adversarial = pgd(network, x, y, eps=EPS, steps=STEPS, generator=torch.Generator().manual_seed(seed))
        check_adversarial(adversarial, x, Attack(name="pgd", kind="own-pgd", eps=EPS))
        with torch.no_grad():
            return adversarial, network(adversarial).argmax(1)


def _draw(pictures: dict[str, tuple[Tensor, Tensor]], test: Images, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = {"clean": (test.x[:8], test.y[:8]), **pictures}
    figure, axes = pyplot.subplots(len(shown), 16, figsize=(17, 1.15 * len(shown)), squeeze=False)
    for line, (name, (images, labels)) in zip(axes, shown.items(), strict=True):
        for i, (axis, change, image, label) in enumerate(zip(line, line[8:], images, labels, strict=False)):
            axis.imshow(image[0], cmap="gray", vmin=0, vmax=1)
            right = bool(label == test.y[i])
            axis.set_title(str(int(label)), fontsize=8, color="black" if right else "crimson", pad=2)
            change.imshow(image[0] - test.x[i, 0], cmap="gray", vmin=-EPS, vmax=EPS)
            for a in (axis, change):
                a.set_xticks([])
                a.set_yticks([])
            change.set_visible(name != "clean")
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    figure.suptitle(
        f"PGD-{STEPS}, Linf ε = {EPS}; above each image what the network reads in it. Right: the difference from "
        f"the clean image, {0.5 / EPS:.0f} times enlarged, black −ε, gray 0, white +ε",
        fontsize=9,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _write(rows: list[Row], work: Path, seeds: list[int], quick: bool) -> None:
    settings = {
        "seeds": seeds,
        "quick": quick,
        "model": MODEL,
        "channels": CHANNELS,
        "input_size": SIZE,
        "sigma": SIGMA,
        "eps": EPS,
        "steps": STEPS,
        "versions": {
            "surgeon": surgeon.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    }
    write_json(work / "table.json", {"settings": settings, "rows": [r.model_dump() for r in rows]})
    header = [
        "method",
        "parameters",
        "flops",
        "effect",
        "folds",
        "start",
        "clean",
        "noise",
        "fgsm",
        "pgd",
        "pgd_low",
        "pgd_high",
    ]
    write_csv(
        work / "table.csv",
        header,
        (
            [
                r.method,
                r.parameters,
                r.flops,
                r.effect,
                r.folds,
                r.start,
                r.clean.value,
                r.noise.value,
                r.fgsm.value,
                r.pgd.value,
                r.pgd.low,
                r.pgd.high,
            ]
            for r in rows
        ),
    )
