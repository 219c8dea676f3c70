"""How often the suite `lean` says of an image what `standard` says, and at what cost: the table of docs/evaluation.md.

A CIFAR-10 ResNet-20 and a small CNN that is trained here on digits, 128 images each, at several ε in Linf. Each row is
kept in a folder of its own, so that an interrupted run goes on. The seconds of a row are of one run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

import surgeon
from benchmarks.rows.verdicts import trained_cnn
from experiments.rows import arguments, collect
from surgeon.data import held_out
from surgeon.evaluation import Normalized, evaluate, suite
from surgeon.models import normalization_of
from surgeon.recipe import Evaluation
from surgeon.results.threat import main_threat
from surgeon.results.verdict import standing

PAGE = Path("docs/evaluation.md")
BEGIN, END = "<!-- lean -->", "<!-- /lean -->"
EPS = {
    "ResNet-20, CIFAR-10": (("0.5/255", 0.5 / 255), ("1/255", 1 / 255), ("2/255", 2 / 255)),
    "CNN, digits": (("0.05", 0.05), ("0.1", 0.1)),
}


def main() -> None:
    given = arguments(__doc__ or "", "lean-agreement", count=128)
    given.seeds = 1
    subjects: dict[str, Any] = {}

    def subject(name: str) -> tuple[nn.Module, Tensor, Tensor]:
        if name not in subjects:
            subjects[name] = (_resnet if name.startswith("ResNet") else _cnn)(given)
        return subjects[name]  # type: ignore[no-any-return]  # a cache of what was made

    rows: dict[str, Callable[[int, Path], dict[str, float]]] = {}
    for name, sizes in EPS.items():
        for label, eps in sizes:

            def one(seed: int, folder: Path, name: str = name, eps: float = eps) -> dict[str, float]:
                return _compared(*subject(name), eps)

            rows[f"{name} at {label}"] = one
    by_row = collect(rows, given)
    lines = [
        "| network, Linf | images, right | standard leaves | lean leaves | stand by lean alone "
        "| by standard alone | cost |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, figures in by_row.items():
        f = {k: v[0] for k, v in figures.items()}
        lines.append(
            f"| {row} | {f['images']:.0f}, {f['right']:.0f} | {f['standard']:.0f} | {f['lean']:.0f} "
            f"| {f['only_lean']:.0f} | {f['only_standard']:.0f} | {f['seconds_lean'] / f['seconds_standard']:.2f}× |"
        )
    table = "\n".join(lines)
    print(table)
    text = PAGE.read_text(encoding="utf-8")
    if BEGIN in text:
        before, rest = text.split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def _compared(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> dict[str, float]:
    left: dict[str, dict[int, bool]] = {}
    figures: dict[str, float] = {"images": float(len(x))}
    for name in ("standard", "lean"):
        attacks = suite(Evaluation(suite=name, norm="linf", eps=eps), classes=10)
        began = time.perf_counter()
        outcome = evaluate(model, x, y, attacks)
        figures[f"seconds_{name}"] = time.perf_counter() - began
        clean, left[name] = standing(outcome.rows(), main_threat(attacks))
        figures["right"], figures[name] = float(sum(clean.values())), float(sum(left[name].values()))
    figures["only_lean"] = float(sum(left["lean"][i] and not left["standard"][i] for i in left["lean"]))
    figures["only_standard"] = float(sum(left["standard"][i] and not left["lean"][i] for i in left["lean"]))
    return figures


def _resnet(given: Any) -> tuple[nn.Module, Tensor, Tensor]:
    weights = next((Path(given.data).parent / "weights").glob("resnet20-*.th"))
    network = surgeon.create_model("zoo/cifar_resnet20", weights=str(weights)).eval()
    test = held_out(str(Path(given.data) / "cifar10-jpeg"), (3, 32, 32), count=given.count)
    return Normalized(network, *(normalization_of(network) or (None, None))), test.x, test.y


def _cnn(given: Any) -> tuple[nn.Module, Tensor, Tensor]:
    model, x, y = trained_cnn(given.count)
    return Normalized(model), x, y


if __name__ == "__main__":
    main()
