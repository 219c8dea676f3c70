"""What is left of a trained CIFAR-10 ResNet-20 right after the cut, by start, and after 240 steps of training.

Each row is a cut with one start, 512 of the training images calibrating it; 64 of them are held out, and say
whether batch-norm statistics are taken again. Accuracies in per cent on all 10,000 JPEG test images, where
the network as published has 81.0. The rows of BARS and `--tune` (names with ; between) are also trained: SGD
with Nesterov 0.9, learning rate `--lr` (0.05) falling linearly to 0, weight decay 5e-4, batch 128, pad by 4,
crop and flip. No noise in any row. Defective masks keep half of the neurons after the norms of the stem and
the first stage; weight maps take the place of every second convolution; kernel average pooling stands after
all 19.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

import surgeon
from experiments.rows import arguments, collect, show
from experiments.sets import cifar
from surgeon.data import Images, pixels
from surgeon.models import normalization_of
from surgeon.recipe import Training
from surgeon.training import fit
from surgeon.training.validation import Normalization, validate

SIZE = (3, 32, 32)
KAP = {"op": "kap", "kernel_size": 3}
WM = {"op": "weight-map", "mode": "unsharp", "select": {"kernel": ">1", "every": 2, "offset": 1}}
SMOOTH = {**WM, "mode": "smoothing"}
MASKS = {"op": "defective", "keep": 0.5, "select": {"stages": [0, 1]}}
BARS: dict[str, dict[str, Any] | None] = {"wm-unsharp": WM, "kap": KAP, "defective": MASKS, "stock": None}
STARTS: dict[str, dict[str, Any]] = {
    "kap naive": {**KAP, "start": "naive"},
    "kap lstsq, order given": {**KAP, "start": "lstsq", "order": "given"},
    "kap lstsq": {**KAP, "start": "lstsq"},
    "kap sequential, order given": {**KAP, "order": "given"},
    "kap sequential, ridge 1e-4": {**KAP, "ridge": 1e-4},
    "kap sequential, ridge 1e-2": {**KAP, "ridge": 1e-2},
    "wm-unsharp random": {**WM, "start": "random"},
    "wm-unsharp unscaled": {**WM, "scale": 1.0},
    "wm-unsharp mean": {**WM, "start": "mean"},
    "wm-smoothing": SMOOTH,
    "defective random": {**MASKS, "start": "random"},
    "defective by importance": {**MASKS, "choice": "importance"},
    "defective by importance, random": {**MASKS, "choice": "importance", "start": "random"},
}


def main() -> None:
    given = arguments(__doc__ or "", "warm_starts", steps=240, calibration=512, lr=0.05, tune="")
    sets = cifar(given.data)
    test = Images(pixels(sets["test"].x), sets["test"].y)
    weights = next((Path(given.data).parent / "weights").glob("resnet20-*.th"))
    few = Images(*(part[: given.steps * 128] for part in sets["train"]))

    def run(name: str, operation: dict[str, Any] | None, seed: int, folder: Path) -> dict[str, float]:
        model = surgeon.create_model("zoo/cifar_resnet20", weights=str(weights))
        normalize = normalization_of(model)
        inputs = Normalization(normalize, torch.device("cpu"))
        began = time.perf_counter()
        if operation:
            images = inputs(pixels(sets["train"].x[: given.calibration]))
            model = surgeon.apply(
                model, operation, input_size=SIZE, seed=seed, trained=True, calibration=images
            )
        figures = {"seconds of the cut": time.perf_counter() - began}
        figures["at the cut"] = 100 * validate(model, test, "cpu", inputs)[1]
        if name in BARS or name in given.tune.split(";"):
            settings = Training(
                epochs=1,
                batch_size=128,
                lr=given.lr,
                min_lr=0.0,
                schedule="linear",
                pad=4,
                flip=True,
                noise_share=1.0,
            )
            fit(model, few, None, settings, folder=folder, seed=seed, label=name, normalize=normalize)
            figures[f"after {given.steps} steps"] = 100 * validate(model, test, "cpu", inputs)[1]
        return figures

    rows = {**BARS, **STARTS}
    show(collect({r: lambda s, f, name=r: run(name, rows[name], s, f) for r in rows}, given), {})


if __name__ == "__main__":
    main()
