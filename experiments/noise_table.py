"""Table 2 of "Adversarial Noise Layer" (arXiv 1805.08000), its LeNet-5 row, on MNIST: what kind of noise helps?

The paper has Fashion-MNIST and 300 epochs. Here: MNIST, the same network and placement (between convolution and
ReLU), the same optimizer (SGD, Nesterov 0.9, learning rate from 0.1, a tenth of it after each third of the training),
noise on in all epochs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import surgeon
from experiments.rows import arguments, collect, show
from experiments.sets import mnist
from surgeon.recipe import Training
from surgeon.training import fit
from surgeon.training.validation import validate

PAPER = {
    "baseline": "9.44",
    "Gaussian": "9.49",
    "LAT": "–",
    "ANL": "8.87",
    "CANL": "9.21",
    "ANL, ε<0": "12.00",
}


def main() -> None:
    given = arguments(__doc__ or "", "noise_table", epochs=15, count=0, epsilon=0.03, lr=0.05)
    sets = mnist(given.data, count=given.count or None)
    sources = {
        "baseline": None,
        "Gaussian": ("gaussian", 1),
        "LAT": ("lat", 1),
        "ANL": ("anl", 1),
        "CANL": ("canl", 1),
        "ANL, ε<0": ("anl", -1),
    }

    def run(source: Any, seed: int, folder: Path) -> dict[str, float]:
        model = surgeon.create_model("zoo/lenet5")
        if source is not None:
            kind, sign = source
            cut = {
                "op": "adversarial-noise",
                "source": kind,
                "epsilon": sign * given.epsilon,
                "after": "conv",
            }
            model = surgeon.apply(model, cut, input_size=(1, 28, 28), seed=seed)
        settings = Training(
            epochs=given.epochs, lr=given.lr, min_lr=1e-4, schedule="step", noise_share=1.0, weight_decay=5e-4
        )
        rows = fit(
            model, sets["train"], sets["val"], settings, folder=folder, seed=seed, label=f"{source} {seed}"
        )
        _, right = validate(model, sets["test"], "cpu")
        return {"test error %": 100 * (1 - right), "training loss": rows[-1].loss}

    found = collect({k: lambda s, f, source=v: run(source, s, f) for k, v in sources.items()}, given)
    show(found, PAPER)


if __name__ == "__main__":
    main()
