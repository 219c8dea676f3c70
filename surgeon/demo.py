"""A complete example in a few minutes, on real scans: train, rewrite, fine-tune, attack and compare."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

import surgeon
from surgeon.arguments import checked_seed
from surgeon.data import Images, digits
from surgeon.disk.files import write_csv, write_json
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


class Row(BaseModel):
    """One row of the demo's table. Accuracies are on test images; `start` is before fine-tuning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    parameters: float
    flops: float
    effect: str
    folds: str
    start: float
    clean: Share
    noise: float
    fgsm: Share
    pgd: Share
    seconds: float


@in_own_state(training=True)
def run(folder: str | Path, *, seed: int = 0, quick: bool = False, overwrite: bool = False) -> list[Row]:
    """Run the demo into a folder: table.json, table.csv, adversarial.png, and a loadable network per method.

    A narrow ResNet-18 (timm) is trained on scikit-learn's digits at 32×32 and rewritten by each method with
    the recipes of this package. Each network is fine-tuned for as long as a stock copy, and tested with
    Gaussian noise σ = 0.2, FGSM and PGD-20 within Linf ε = 0.1 by torchattacks.

    Args:
        folder: Where the results go.
        seed: Seed of all random choices.
        quick: Train less, on fewer methods and test images.
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
    train, val = sets["train"], sets["val"]
    test = Images(sets["test"].x[: 64 if quick else None], sets["test"].y[: 64 if quick else None])
    first = Training(epochs=1 if quick else 8, batch_size=64, lr=0.1, min_lr=1e-3)
    after = Training(epochs=1 if quick else 6, batch_size=64, lr=0.05, min_lr=1e-3)
    methods = METHODS[1:5:3] if quick else METHODS
    rows: list[Row] = []
    pictures: dict[str, tuple[Tensor, Tensor]] = {}
    with new_folder(folder, "demo", overwrite=overwrite) as work:
        torch.manual_seed(seed)
        base = create_model(
            MODEL, num_classes=10, in_chans=1, input_size=SIZE, model_args={"channels": CHANNELS}
        )
        began = time.perf_counter()
        fit(base, train, val, first, seed=seed, label="stock")
        rows.append(_row("stock", base, base, test, seed, validate(base, test, "cpu")[1], began))
        for method in ("stock, fine-tuned", *methods):
            began = time.perf_counter()
            if method in METHODS:
                network: nn.Module = apply(
                    base, method, input_size=SIZE, seed=seed, trained=True, calibration=train.x
                )
            else:
                network = load_copy(base)
            start = validate(network, test, "cpu")[1]
            fit(network, train, val, after, seed=seed, label=method)
            network.eval()
            rows.append(_row(method, network, base, test, seed, start, began))
            if method in METHODS:
                _save_and_check(network, work / "models" / method, test.x[:16])
            pictures[method] = _adversarial(network, test, seed)
        _draw(pictures, test, work / "adversarial.png")
        _write(rows, work, seed, quick)
    return rows


def load_copy(model: nn.Module) -> nn.Module:
    """Return an independent copy of a stock network.

    Args:
        model: The network.

    Returns:
        The copy.
    """
    import copy

    return copy.deepcopy(model)


def _row(
    method: str, network: nn.Module, base: nn.Module, test: Images, seed: int, start: float, began: float
) -> Row:
    subject = Normalized(evaluated(network, test.x[:16]))
    attacks = suite(Evaluation(attacks=("fgsm", "pgd"), norm="linf", eps=EPS, steps=STEPS), seed=seed)
    summary = summarize(evaluate(subject, test.x, test.y, attacks, seed=seed))
    record: Any = getattr(network, "surgery", None)
    folds = "stock" if record is None else "yes" if record.folds else "no"
    return Row(
        method=method,
        parameters=record.factor("parameters") if record else 1.0,
        flops=record.factor("flops") if record else 1.0,
        effect=record.told().split(" (")[0] if record else "",
        folds=folds,
        start=start,
        clean=summary.clean,
        noise=noise_accuracy(subject, test.x, test.y, [SIGMA], seed=seed)[0],
        fgsm=summary.robust["fgsm"],
        pgd=summary.robust["pgd"],
        seconds=time.perf_counter() - began,
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
        found = pgd(network, x, y, eps=EPS, steps=STEPS, generator=torch.Generator().manual_seed(seed))
        check_adversarial(found, x, Attack(name="pgd", kind="own-pgd", eps=EPS))
        with torch.no_grad():
            return found, network(found).argmax(1)


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


def _write(rows: list[Row], work: Path, seed: int, quick: bool) -> None:
    settings = {
        "seed": seed,
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
                r.noise,
                r.fgsm.value,
                r.pgd.value,
                r.pgd.low,
                r.pgd.high,
            ]
            for r in rows
        ),
    )
