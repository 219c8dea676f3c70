"""What kernel average pooling leaves of trained networks of many kinds, right after the cut with its default start.

Each network is trained on scikit-learn's digits at 32×32 and cut by the recipe kap, once with its training images for
calibration and once without images. Accuracies are in per cent of the 360 test images; what the record says is
decided without them, on calibration images that were held out. No data is needed. A network that
experiments/trained_zoo.json has is not trained again:

    python -m experiments.trained_zoo
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import surgeon
from benchmarks.page import between
from surgeon.data import digits
from surgeon.disk.files import write_json
from surgeon.effects import EFFECT_TEXT, MOST_LOST
from surgeon.machine import made_by
from surgeon.recipe import Training
from surgeon.surgery.door import surgery_of
from surgeon.training import fit
from surgeon.training.validation import validate

SIZE = (1, 32, 32)
RESULTS, PAGE = Path(__file__).with_suffix(".json"), Path("docs/conversion.md")
CONVOLUTIONAL = {"batch_size": 64, "lr": 0.05, "min_lr": 0.001, "epochs": 10}
ADAMW = {
    "batch_size": 64,
    "optimizer": "adamw",
    "lr": 0.002,
    "min_lr": 0.00001,
    "weight_decay": 0.05,
    "epochs": 20,
}


class Entry(NamedTuple):
    """A network of timm's, arguments that make it small, and how it is trained."""

    model: str
    training: dict[str, Any]
    arguments: dict[str, Any] = {}


NETWORKS = {
    "MobileNetV3": Entry("mobilenetv3_small_050", {**CONVOLUTIONAL, "epochs": 20}),
    "RegNet": Entry("regnetx_002", CONVOLUTIONAL),
    "ConvNeXt": Entry("convnext_atto", ADAMW),
    "DenseNet": Entry("densenet121", CONVOLUTIONAL, {"growth_rate": 12, "block_config": [3, 3, 3, 3]}),
    "ViT": Entry(
        "vit_tiny_patch16_224",
        {**ADAMW, "lr": 0.001, "epochs": 60},
        {"img_size": 32, "patch_size": 4, "embed_dim": 96, "depth": 4, "num_heads": 3},
    ),
    "EfficientNet": Entry("efficientnet_b0", {**CONVOLUTIONAL, "epochs": 20}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(NETWORKS), help="networks to train now")
    parser.add_argument("--page", action="store_true", help="only write the table into docs/conversion.md")
    given = parser.parse_args()
    by_name = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for name, entry in NETWORKS.items():
        if given.page or name in by_name or (given.only and name not in given.only):
            continue
        by_name[name] = measured(entry)
        write_json(RESULTS, {n: by_name[n] for n in NETWORKS if n in by_name})
        print(row(name, by_name[name]), flush=True)
    PAGE.write_text(
        between(PAGE.read_text(encoding="utf-8"), "trained-zoo", table(by_name)), encoding="utf-8"
    )


def measured(entry: Entry) -> dict[str, Any]:
    """Train a network, cut it twice, and say what it kept."""
    sets = digits(SIZE[1], seed=0)
    torch.manual_seed(0)
    model = surgeon.create_model(
        entry.model, num_classes=10, in_chans=1, input_size=SIZE, model_args=entry.arguments
    )
    began = time.perf_counter()
    fit(model, sets["train"], None, Training(**entry.training), seed=0)
    trained = time.perf_counter() - began

    def right(network: nn.Module) -> int:
        return round(validate(network, sets["test"], "cpu")[1] * len(sets["test"].x))

    return {
        "model": entry.model,
        "arguments": entry.arguments,
        "epochs": entry.training["epochs"],
        "images": len(sets["test"].x),
        "calibration": len(sets["train"].x),
        "before": right(model),
        "with images": _cut(model, sets["train"].x, right),
        "without images": _cut(model, None, right),
        "seconds of training": round(trained, 1),
        "made": {k: v for k, v in made_by().items() if k != "command"},
    }


def _cut(model: nn.Module, images: Tensor | None, right: Any) -> dict[str, Any]:
    """Cut a copy with the default start, and count what is right after it."""
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = surgeon.apply(model, "kap", input_size=SIZE, seed=0, trained=True, calibration=images)
    record = surgery_of(network)
    assert record is not None
    choice = getattr(record.execution, "choice", None)
    used = next((t.label for t in (choice.trials if choice else ()) if t.used), "")
    return {
        "after": right(network),
        "effect": record.effect,
        "pooled": sum(e.operation == "kap" for e in record.edits),
        "passed over": len(record.passed_over),
        "start": used,
        "seconds": round(time.perf_counter() - began, 1),
    }


def table(by_name: dict[str, Any]) -> str:
    """The table of docs/conversion.md, its bar, and what it was measured with."""
    names = [n for n in NETWORKS if n in by_name]
    calibrated = max((r["calibration"] for r in by_name.values()), default=0)
    lines = [
        f"| network | trained | convolutions pooled, passed over | with {calibrated:,} training images: kept "
        "| the record says | start | without images: kept | the record says |",
        "|" + "---|" * 8,
        *(row(n, by_name[n]) for n in names),
    ]
    missing = [n for n in NETWORKS if n not in by_name]
    broken = [
        n
        for n in names
        if lost(by_name[n]) > MOST_LOST and by_name[n]["with images"]["effect"] == "approximated"
    ]
    kept = [n for n in names if by_name[n]["with images"]["effect"] == "approximated"]
    bar = (
        f"The bar: what the record calls approximated loses at most {100 * MOST_LOST:g} points on test images, "
        "which it has not seen. "
        + (
            f"**Missed** by {', '.join(broken)}."
            if broken
            else f"It is met by the {len(kept)} that are called so."
        )
    )
    machines = sorted(
        {
            f"torch {r['made']['versions']['torch']}, timm {r['made']['versions']['timm']}, "
            f"{r['made']['processor']}, {r['made']['threads']} thread"
            for r in by_name.values()
        }
    )
    parts = ["\n".join(lines), bar]
    parts += [f"Not measured yet: {', '.join(missing)}."] if missing else []
    return "\n\n".join([*parts, f"Made with {'; '.join(machines)}."] if by_name else parts)


def lost(one: dict[str, Any], how: str = "with images") -> float:
    """The share of the test images that a cut loses."""
    return float(one["before"] - one[how]["after"]) / one["images"]


def row(name: str, one: dict[str, Any]) -> str:
    """A network's line of the table."""
    cut, blind, n = one["with images"], one["without images"], one["images"]
    cells = [
        f"{name} (`{one['model']}`{', smaller' if one['arguments'] else ''})",
        f"{100 * one['before'] / n:.1f} %",
        f"{cut['pooled']}, {cut['passed over']}",
        f"{100 * cut['after'] / n:.1f} %",
        EFFECT_TEXT[cut["effect"]],
        f"`{cut['start']}`" if cut["start"] else "–",
        f"{100 * blind['after'] / n:.1f} %",
        EFFECT_TEXT[blind["effect"]],
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
