"""MeanSparse in a network trained adversarially: what stands against it alone, and against who knows it.

The CIFAR-10 ResNet-20, after four more epochs of fast adversarial training (FGSM from a random start, Linf 4/255) on
500 JPEG images a class; then MeanSparse; 160 test images, Linf 2/255, suite quick. Resumable. Writes the table of
docs/evaluation.md.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

import surgeon
from benchmarks.page import between
from experiments.rows import arguments, collect
from surgeon.data import held_out, load_sets
from surgeon.data.images import pixels
from surgeon.evaluation import Normalized, assess
from surgeon.models import normalization_of
from surgeon.recipe import Adversary, Data, Evaluation, Training
from surgeon.training import fit

PAGE = Path(__file__).parents[1] / "docs" / "evaluation.md"
ALPHAS = (0.1, 0.3)
SIZE = (3, 32, 32)


def main() -> None:
    given = arguments(__doc__ or "", "mean-sparse-trial", count=160)
    given.seeds = 1
    warnings.filterwarnings("ignore")
    data = Path(given.data) / "cifar10-jpeg"
    made: dict[str, Any] = {}

    def trained() -> tuple[nn.Module, torch.Tensor]:
        if not made:
            weights = next((Path(given.data).parent / "weights").glob("resnet20-*.th"))
            network = surgeon.create_model("zoo/cifar_resnet20", weights=str(weights))
            sets = load_sets(str(data), Data(per_class=500), input_size=SIZE)
            how = Training(
                epochs=4, lr=0.05, batch_size=128, adversary=Adversary(method="fgsm-rs", eps=4 / 255)
            )
            fit(Normalized(network, *(normalization_of(network) or (None, None))), sets.train, None, how)
            made["network"], made["images"] = network.eval(), pixels(sets.train.x[:256])
        return made["network"], made["images"]

    def row(alpha: float) -> Any:
        def one(seed: int, folder: Path) -> dict[str, float]:
            network, images = trained()
            calibration = surgeon.models.normalized(images, network)
            cut = surgeon.apply(network, {"op": "meansparse", "alpha": alpha}, calibration=calibration)
            test = held_out(str(data), SIZE, count=given.count)
            settings = Evaluation(suite="quick", eps=2 / 255, diagnostics=64, pictures=False)
            outcome = assess(cut, test.x, test.y, settings, folder / "evaluation")
            gain: Any = outcome.gain
            return {
                "clean": gain.clean.value,
                "itself": gain.itself.value,
                "knowing": gain.worst.value,
                "uncut": gain.uncut.value,
                "adds": gain.difference.difference,
                "low": gain.difference.low,
                "high": gain.difference.high,
                "headline": float(outcome.summary.headline is not None),
                "hides gradients": float(bool(gain.warning)),
            }

        return one

    by_row = collect({f"α = {a:g}": row(a) for a in ALPHAS}, given)
    text = table({name: {k: v[0] for k, v in figures.items()} for name, figures in by_row.items()})
    print(text)
    PAGE.write_text(between(PAGE.read_text(encoding="utf-8"), "mean-sparse", text), encoding="utf-8")


def table(by_row: dict[str, dict[str, float]]) -> str:
    """One line an α."""
    lines = [
        "| MeanSparse | clean | by itself | by who knows the cut | the uncut network | the surgery adds | a number |",
        "|" + "---|" * 7,
    ]
    for name, f in by_row.items():
        shares = " | ".join(f"{100 * f[k]:.1f} %" for k in ("clean", "itself", "knowing", "uncut"))
        adds = f"{100 * f['adds']:+.1f} points [{100 * f['low']:+.1f}, {100 * f['high']:+.1f}]"
        said = ("yes" if f["headline"] else "no") + (
            ", and that it hides gradients" if f["hides gradients"] else ""
        )
        lines.append(f"| {name} | {shares} | {adds} | {said} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
