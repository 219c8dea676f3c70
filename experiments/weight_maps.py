"""Table 4 of "Weight Map Layer" (arXiv 1905.00568) on MNIST: plain, smoothing and unsharp CNNs of like FLOPs.

The paper: Adam, 300 epochs, pad by 2 and crop, a tenth of the training set validates; three trials. It also
adds uniform noise U(0, u) to the input, divides by 1 + u, and attacks by FGSM. Here: Adam at 1e-3 falling to
1e-5 along a cosine, the epochs below, as the learning rate is not stated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import surgeon
from experiments.rows import arguments, collect, show
from experiments.sets import mnist
from surgeon.data import Images
from surgeon.evaluation import Normalized, evaluate, noise_accuracy, suite, summarize
from surgeon.recipe import Evaluation, Training
from surgeon.training import fit
from surgeon.training.validation import validate

PAPER = {"CNN, 33 channels": "0.85 ± 0.11", "smoothing WM": "0.79 ± 0.03", "unsharp WM": "0.73 ± 0.03"}
LEVELS, EPS = (0.5, 1.0), 0.1


def main() -> None:
    given = arguments(__doc__ or "", "weight_maps", epochs=6, count=0)
    sets = mnist(given.data, count=given.count or None)
    test = Images(sets["test"].x.float() / 255, sets["test"].y)
    networks: dict[str, Any] = {
        "CNN, 33 channels": ("zoo/cnn", {}, None),
        "smoothing WM": ("zoo/wm_cnn", {}, "wm-smoothing-all"),
        "unsharp WM": ("zoo/wm_cnn", {"same": True}, "wm-unsharp-all"),
    }

    def run(row: str, seed: int, folder: Path) -> dict[str, float]:
        name, more, recipe = networks[row]
        model = surgeon.create_model(name, model_args=more)
        if recipe is not None:
            model = surgeon.apply(model, recipe, input_size=(1, 28, 28), seed=seed)
        settings = Training(
            epochs=given.epochs,
            optimizer="adam",
            lr=1e-3,
            min_lr=1e-5,
            weight_decay=0.0,
            pad=2,
            batch_size=128,
        )
        fit(model, sets["train"], sets["val"], settings, folder=folder, seed=seed, label=f"{row} {seed}")
        figures = {"test error %": 100 * (1 - validate(model, test, "cpu")[1])}
        subject = Normalized(model.eval())
        noisy = noise_accuracy(subject, test.x, test.y, LEVELS, kind="uniform", seed=seed)
        figures |= {f"error % at u={u}": 100 * (1 - a) for u, a in zip(LEVELS, noisy, strict=True)}
        attack = suite(Evaluation(attacks=("fgsm",), eps=EPS))
        robust = (
            summarize(evaluate(subject, test.x[:2000], test.y[:2000], attack, seed=seed)).robust["fgsm"].value
        )
        figures[f"error % by FGSM ε={EPS}"] = 100 * (1 - robust)
        figures["parameters, thousands"] = sum(p.numel() for p in model.parameters()) / 1e3
        return figures

    show(collect({r: lambda s, f, row=r: run(row, s, f) for r in networks}, given), PAPER)


if __name__ == "__main__":
    main()
