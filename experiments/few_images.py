"""What is left of a trained network right after the cut, by how many calibration images there are: 0 to 1,024.

A narrow ResNet-18 is trained on scikit-learn's digits at 32×32 for `--epochs`, then cut by each method with
its default start. Accuracies in per cent on the 360 test images; where several starts are tried, the one that
was used, in brackets. No data is
needed: `python -m experiments.few_images`.
"""

from __future__ import annotations

import argparse
import warnings

import torch

import surgeon
from experiments.warm_starts import KAP, MASKS, WM
from surgeon.data import digits
from surgeon.recipe import Training
from surgeon.training import fit
from surgeon.training.validation import validate

SIZE = (1, 32, 32)
CHANNELS = [16, 16, 32, 64]
NUMBERS = (0, 2, 8, 16, 32, 64, 256, 1024)
METHODS = {"KAP": KAP, "masks": MASKS, "weight maps": WM}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sets = digits(SIZE[1], seed=0)
    torch.manual_seed(given.seed)
    model = surgeon.create_model(
        "resnet18", num_classes=10, in_chans=1, input_size=SIZE, model_args={"channels": CHANNELS}
    )
    settings = Training(epochs=given.epochs, batch_size=64, lr=0.05, min_lr=1e-3)
    fit(model, sets["train"], None, settings, seed=given.seed)
    order = torch.randperm(len(sets["train"].x), generator=torch.Generator().manual_seed(given.seed))
    images = sets["train"].x[order]
    warnings.simplefilter("ignore")
    print(f"before the cut: {100 * validate(model, sets['test'], 'cpu')[1]:.1f} %")
    print("| images | " + " | ".join(METHODS) + " |\n" + "|---" * (1 + len(METHODS)) + "|")
    for number in NUMBERS:
        cells = []
        for recipe in METHODS.values():
            few = images[:number] if number else None
            network = surgeon.apply(model, recipe, input_size=SIZE, trained=True, calibration=few)
            choice = getattr(network.surgery.execution, "choice", None)
            used = next((f" ({t.label})" for t in (choice.trials if choice else ()) if t.used), "")
            cells.append(f"{100 * validate(network, sets['test'], 'cpu')[1]:.1f} %{used}")
        print(f"| {number or 'none'} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
