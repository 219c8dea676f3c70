"""A trained CIFAR-10 ResNet-20, cut by each recipe and fine-tuned for 240 steps: what is kept, and what it brings.

SGD with Nesterov 0.9, learning rate 0.05 falling linearly to 0, weight decay 5e-4, batch 128, pad by 4, crop
and flip, on the JPEG training images; 1,024 of them calibrate the cut. Accuracies are on all 10,000 JPEG test
images, where the network as published has 81.0 %; noise is Gaussian in pixels, PGD-20 is within Linf 1/255,
on 1,000 and 500 test images.
"""

from __future__ import annotations

from pathlib import Path

import torch

import surgeon
from experiments.rows import arguments, collect, show
from experiments.sets import cifar
from surgeon.data import Images, pixels
from surgeon.evaluation import Normalized, evaluate, evaluated, noise_accuracy, suite, summarize
from surgeon.models import normalization_of
from surgeon.recipe import Evaluation, Training, load_recipe
from surgeon.training import fit
from surgeon.training.validation import Normalization, validate

RECIPES = (
    "plain",
    "noise",
    "input-noise",
    "anl",
    "canl",
    "lat",
    "gaussian",
    "kap",
    "kap-1d",
    "kmp",
    "smooth-init",
    "defective",
    "defective-same",
    "defective-channel",
    "wm-smoothing",
    "wm-unsharp",
    "wm-input-scale",
    "at-fgsm",
    "at-pgd",
    "trades",
    "fast-at",
    "kap+fast-at",
)
SIZE, SIGMA, EPS = (3, 32, 32), 0.05, 1 / 255


def main() -> None:
    given = arguments(__doc__ or "", "finetune_cifar", steps=240)
    sets = cifar(given.data)
    test = Images(pixels(sets["test"].x), sets["test"].y)
    weights = next((Path(given.data).parent / "weights").glob("resnet20-*.th"))
    few = Images(*(part[: given.steps * 128] for part in sets["train"]))

    def run(name: str, seed: int, folder: Path) -> dict[str, float]:
        model = surgeon.create_model("zoo/cifar_resnet20", weights=str(weights))
        mean, std = normalize = normalization_of(model) or ((0.0,), (1.0,))
        inputs = Normalization(normalize, torch.device("cpu"))
        recipes = [load_recipe(r) for r in name.split("+")]
        cuts = [r for r in recipes if r.surgery]
        if cuts:
            images = inputs(pixels(few.x[:1024]))
            model = surgeon.apply(model, cuts, input_size=SIZE, seed=seed, trained=True, calibration=images)
        figures = {"at the cut": 100 * validate(model, test, "cpu", inputs)[1]}
        adversary = next((r.training.adversary for r in recipes if r.training and r.training.adversary), None)
        settings = Training(
            epochs=1,
            batch_size=128,
            lr=0.05,
            min_lr=0.0,
            schedule="linear",
            pad=4,
            flip=True,
            noise_share=1.0,
            adversary=adversary,
        )
        fit(model, few, None, settings, folder=folder, seed=seed, label=name, normalize=normalize)
        model.eval()
        subject = Normalized(evaluated(model, inputs(test.x[:16])), mean, std)
        figures["tuned"] = 100 * validate(model, test, "cpu", inputs)[1]
        figures[f"noise σ={SIGMA}"] = (
            100 * noise_accuracy(subject, test.x[:1000], test.y[:1000], [SIGMA], seed=seed)[0]
        )
        attack = suite(Evaluation(attacks=("pgd",), eps=EPS, steps=20))
        figures["PGD 1/255"] = (
            100
            * summarize(evaluate(subject, test.x[:500], test.y[:500], attack, seed=seed)).robust["pgd"].value
        )
        return figures

    show(collect({r: lambda s, f, name=r: run(name, s, f) for r in RECIPES}, given), {})


if __name__ == "__main__":
    main()
