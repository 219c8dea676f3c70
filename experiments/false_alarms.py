"""How often the diagnostics fail honest networks, and how often they pass masked ones: the table of docs/evaluation.md.

Honest: four architectures trained plainly for 1 to 20 epochs, and two trained adversarially (PGD-5). Masked:
networks of 10 epochs behind logits times 10⁴, an input rounded to eight levels, noise on the input, a
saturated softmax; and one whose activations are the k largest. 128 test images drawn by the seed; Linf 0.05
(digits), 0.1 (MNIST), 2/255 (CIFAR-10).

Resumable. Writes experiments/false_alarms.json, which `--page` makes the page's table from.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.page import between
from experiments.plain_networks import EPOCHS, PLAIN, Task, network, some, task
from experiments.rows import arguments, collect
from surgeon.disk.files import write_json
from surgeon.evaluation import diagnose
from surgeon.recipe import Adversary
from surgeon.results.statistics import wilson

RESULTS, PAGE = Path(__file__).with_suffix(".json"), Path("docs/evaluation.md")
COUNT = 128
MASKS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "logits × 10⁴": lambda m, x: m(x) * 1e4,
    "quantised input": lambda m, x: m((x * 7).round() / 7),
    "noisy input": lambda m, x: m((x + 0.1 * torch.randn_like(x)).clamp(0, 1)),
    "saturated softmax": lambda m, x: 10 * (m(x) * 50).softmax(1),
}
FOUND = "failed: "
NAMES = {"digits": "digits", "mnist": "MNIST", "cifar": "CIFAR-10"}


class Masked(nn.Module):
    """A network behind something that misleads attacks."""

    def __init__(self, model: nn.Module, how: str) -> None:
        super().__init__()
        self.model, self.how = model, how

    def forward(self, x: Tensor) -> Tensor:
        return MASKS[self.how](self.model, x)


def main() -> None:
    given = arguments(__doc__ or "", "false-alarms", tasks="digits,mnist", page=0)
    tasks = cache(lambda name: task(name, given.data))
    names = given.tasks.split(",")
    if not given.page:
        write_json(RESULTS, collect(rows(names, tasks, Path(given.output)), given))
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    print(table(results))
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(between(text, "false-alarms", table(results)), encoding="utf-8")


def rows(
    names: list[str], tasks: Callable[[str], Task], output: Path
) -> dict[str, Callable[[int, Path], dict[str, float]]]:
    """Row → what the diagnostics find: `task, architecture, what`."""

    def plain(
        name: str, architecture: str, epochs: int, mask: str = "", trained: bool = False
    ) -> Callable[[int, Path], dict[str, float]]:
        def run(seed: int, folder: Path) -> dict[str, float]:
            given = tasks(name)
            own = f"{name},-{architecture},-{epochs}-epochs".replace(" ", "-")
            place = folder if trained or architecture == "kWTA" else output / own / str(seed)
            place.mkdir(parents=True, exist_ok=True)
            adversary = Adversary(method="pgd", eps=given.eps, steps=5) if trained else None
            model = network(architecture, epochs, given, place, seed, adversary)
            return diagnosed(Masked(model, mask) if mask else model, given, seed)

        return run

    results = {}
    for name in names:
        for epochs in EPOCHS:
            for a in PLAIN:
                results[f"{name}, {a}, {epochs} epochs"] = plain(name, a, epochs)
        for a in ("LeNet-5", "CNN"):
            results[f"{name}, {a}, adversarially trained"] = plain(name, a, 5, trained=True)
        for a in ("LeNet-5", "narrow ResNet"):
            for mask in MASKS:
                results[f"{name}, {a}, {mask}"] = plain(name, a, 10, mask)
        results[f"{name}, CNN, k winners"] = plain(name, "kWTA", 10)
    return results


def diagnosed(model: nn.Module, given: Task, seed: int) -> dict[str, float]:
    """Clean accuracy, and the checks that failed."""
    x, y = some(given.test, COUNT, seed)
    diagnosis = diagnose(model, x, y, eps=given.eps, seed=seed)
    right = next((c.measured["images"] for c in diagnosis.checks if c.code == "few-images"), 0.0)
    failed = {f"{FOUND}{c.code}": 1.0 for c in diagnosis.checks if c.failed}
    p = {f"p: {c.code}": c.p for c in diagnosis.checks if c.p is not None}
    return {"clean": right / COUNT, "reliable": float(diagnosis.reliable), **failed, **p}


def table(results: dict[str, dict[str, list[float]]]) -> str:
    """One line a kind of network: how many, how many failed with the interval, and by which checks."""
    kinds: dict[str, list[str]] = {}
    for row in results:
        name, _, what = row.split(", ")
        plain = what.endswith("epochs")
        for kind in (f"plainly trained, {NAMES[name]}", "plainly trained, together") if plain else (what,):
            kinds.setdefault(kind, []).append(row)
    lines = ["| networks | how many | clean accuracy | failed | 95 % interval | by |", "|" + "---|" * 6]
    for kind, own in sorted(
        kinds.items(), key=lambda item: (not item[0].startswith("plainly"), "together" in item[0])
    ):
        clean = [c for r in own for c in results[r]["clean"]]
        failed = sum(1 - v for r in own for v in results[r]["reliable"])
        share = wilson(int(failed), len(clean))
        by = Counter({k.removeprefix(FOUND): 0 for r in own for k in results[r] if k.startswith(FOUND)})
        for r in own:
            by.update({k.removeprefix(FOUND): len(v) for k, v in results[r].items() if k.startswith(FOUND)})
        causes = ", ".join(f"{k} {n}" for k, n in by.most_common()) or "–"
        lines.append(
            f"| {kind} | {share.n} | {100 * min(clean):.0f}–{100 * max(clean):.0f} % | {share.k} | "
            f"{100 * share.low:.1f}–{100 * share.high:.1f} % | {causes} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
