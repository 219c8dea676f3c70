"""The bench of the verdict: defences known to be broken, and honest networks, each given to a whole evaluation.

Broken ones are caught unless a headline claims more than the network without the defence has: the low end of
its interval above the high end of that network's. Honest ones are failed falsely where they get no headline.
scikit-learn's digits at 32 pixels, a small CNN, Linf 0.1, suite quick on 128 test images drawn by the seed.

Resumable. Writes experiments/known_defences.json, of which docs/evaluation.md has the table. With `--only`, the other
rows keep the figures that are in it.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

import surgeon
from benchmarks.page import between
from experiments import defences
from experiments.plain_networks import ARCHITECTURES, Task, network, some, task
from experiments.rows import collect
from surgeon.disk.files import write_json
from surgeon.evaluation import assess
from surgeon.recipe import Adversary, Evaluation, Training
from surgeon.results.statistics import wilson
from surgeon.training import fit

RESULTS, PAGE = Path(__file__).with_suffix(".json"), Path(__file__).parents[1] / "docs" / "evaluation.md"
COUNT, EPS = 128, 0.1
BROKEN, HONEST = "broken", "honest"
Row = Callable[[int, Path], dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "-o", "--output", default="runs/experiments/known-defences", help="folder of the runs"
    )
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0")
    parser.add_argument("--only", nargs="*", help="rows to run")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    every = rows(Path(given.output))
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if given.only else {}
    known |= collect(every, given)
    by_row = {row: known[row] for row in every if row in known}
    write_json(RESULTS, by_row)
    print(table(by_row))
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(between(text, "known-defences", table(by_row)), encoding="utf-8")


def rows(output: Path) -> dict[str, Row]:
    """Row → its evaluation: `broken, name` or `honest, name`."""
    digits = task("digits", None)._replace(eps=EPS)

    def base(seed: int, adversary: Adversary | None = None, epochs: int = 10, kind: str = "CNN") -> nn.Module:
        how = f"{adversary.method}-" if adversary else ""
        folder = output / f"{kind}-{how}{epochs}" / str(seed)
        folder.mkdir(parents=True, exist_ok=True)
        return network(kind, epochs, digits, folder, seed, adversary)

    def hardened(seed: int) -> nn.Module:
        return base(seed, Adversary(method="pgd", eps=digits.eps, steps=5))

    def broken(
        make: Callable[[int], nn.Module], of: Callable[[int], nn.Module] = base, **settings: str
    ) -> Row:
        def run(seed: int, folder: Path) -> dict[str, float]:
            undefended = evaluated(of(seed), digits, seed, folder / "undefended")
            figures = evaluated(make(seed), digits, seed, folder / "defended", **settings)
            return figures | {f"undefended {k}": undefended[k] for k in ("clean", "worst")}

        return run

    def honest(make: Callable[[int], nn.Module]) -> Row:
        return lambda seed, folder: evaluated(make(seed), digits, seed, folder / "evaluated")

    def trained(make: Callable[[int], nn.Module], seed: int, epochs: int = 10) -> nn.Module:
        torch.manual_seed(seed)
        model = make(seed)
        settings = Training(epochs=epochs, batch_size=32, optimizer="adamw", lr=2e-3, min_lr=1e-4)
        fit(model, digits.train, None, settings, seed=seed)
        return model.eval()

    def fresh(seed: int) -> nn.Module:
        return ARCHITECTURES["CNN"]((1, 32, 32))

    def cut(recipe: object, of: Callable[[int], nn.Module] = base) -> Callable[[int], nn.Module]:
        def make(seed: int) -> nn.Module:
            return surgeon.apply(
                of(seed),
                recipe,
                input_size=(1, 32, 32),
                calibration=some(digits.train, 256, seed)[0],
                seed=seed,
            )

        return make

    def sparse(alpha: float) -> Callable[[int], nn.Module]:
        return cut({"op": "meansparse", "alpha": alpha}, hardened)

    def tuned(recipe: object, kind: str = "CNN") -> Callable[[int], nn.Module]:
        return lambda seed: trained(cut(recipe, partial(base, kind=kind)), seed, 5)

    def after_convolutions(recipe: str) -> object:
        return surgeon.load_recipe(recipe, ["adversarial-noise.after=conv"])  # the CNN has no norms

    gaussian = after_convolutions("gaussian")
    kap = tuned("kap", "wide CNN")  # the sheet of eight channels is too narrow for a kernel of three

    evaluated_broken = {
        "logits × 10⁴": broken(lambda s: defences.Scaled(base(s))),
        "quantised input": broken(lambda s: defences.Quantised(base(s))),
        "JPEG": broken(lambda s: defences.Jpeg(base(s))),
        "thermometer code": broken(
            lambda s: trained(lambda _: defences.Thermometer(ARCHITECTURES["CNN"]((10, 32, 32))), s)
        ),
        "resized and padded at random": broken(lambda s: defences.ResizedAndPadded(base(s))),
        "activations pruned at random": broken(lambda s: defences.pruned(base(s))),
        "noise, attacked without expectation": broken(lambda s: defences.Noisy(base(s)), mode="standard"),
        "networks that switch at random": broken(lambda s: defences.Switching(base(s), base(s + 100))),
        "distillation": broken(lambda s: trained(lambda n: defences.Distilled(fresh(n)), s)),
        "a detector without gradient": broken(
            lambda s: defences.Detecting(base(s), some(digits.train, 512, s)[0])
        ),
        "k winners": broken(tuned("kwta")),
        **{f"MeanSparse, α = {a:g}": broken(sparse(a), hardened) for a in (0.2, 0.4, 0.8)},
    }
    adversaries = {m: Adversary(method=m, eps=digits.eps, steps=5) for m in ("pgd", "trades")}
    adversaries = {"fgsm-rs": Adversary(method="fgsm-rs", eps=digits.eps), **adversaries}
    true = {
        **{f"plain, {e} epochs": honest(lambda s, e=e: base(s, epochs=e)) for e in (2, 5, 10, 20)},
        "plain LeNet-5": honest(lambda s: base(s, kind="LeNet-5")),
        "plain narrow ResNet": honest(lambda s: base(s, kind="narrow ResNet")),
        **{f"trained on {m}": honest(lambda s, a=a: base(s, a)) for m, a in adversaries.items()},
        "kap, fine-tuned": honest(kap),
        "gaussian, fine-tuned": honest(tuned(gaussian)),
        **{f"{r}, fine-tuned": honest(tuned(r)) for r in ("wm-unsharp", "defective")},
        **{f"{r}, fine-tuned": honest(tuned(after_convolutions(r))) for r in ("anl", "canl")},
        "kap, folded": honest(lambda s: surgeon.fold(kap(s))),
        "anl, folded": honest(lambda s: surgeon.fold(tuned(after_convolutions("anl"))(s))),
        "gaussian on a hardened network": honest(cut(gaussian, hardened)),
    }
    return {f"{BROKEN}, {n}": r for n, r in evaluated_broken.items()} | {
        f"{HONEST}, {n}": r for n, r in true.items()
    }


def evaluated(model: nn.Module, given: Task, seed: int, folder: Path, mode: str = "auto") -> dict[str, float]:
    """Clean and worst accuracy, whether there is a headline, the checks that failed, and what the record knows."""
    x, y = some(given.test, COUNT, seed)
    settings = Evaluation(
        suite="quick", norm="linf", eps=given.eps, diagnostics=COUNT, pictures=False, mode=mode
    )
    try:
        assessment = assess(model, x, y, settings, folder, seed=seed)
    except surgeon.SurgeonError as error:  # refused before any attack: no number either
        return {
            "clean": float("nan"),
            "worst": float("nan"),
            "headline": 0.0,
            f"by {type(error).__name__}": 1.0,
        }
    checks = assessment.diagnosis.checks if assessment.diagnosis else ()
    figures = {
        "clean": assessment.summary.clean.value,
        "worst": assessment.summary.worst.value,
        "headline": float(assessment.summary.headline is not None),
        **{f"by {c.code}": 1.0 for c in checks if c.failed},
    }
    if assessment.gain is not None:
        figures |= {"itself": assessment.gain.itself.value, "knowing": assessment.gain.worst.value}
        if assessment.gain.warning:
            figures["by the record"] = 1.0
    return figures


def claims(worst: float, undefended: float) -> bool:
    """Whether a headline claims more than the undefended network has, by the intervals of both."""
    one, other = (wilson(round(v * COUNT), COUNT) for v in (worst, undefended))
    return one.low > other.high


def alone(by_row: dict[str, dict[str, list[float]]]) -> dict[str, str]:
    """Broken defence → the one check that failed where nothing else stood between it and a headline."""
    single = {}
    for row, figures in by_row.items():
        failed = Counter({k.removeprefix("by "): len(v) for k, v in figures.items() if k.startswith("by ")})
        if row.startswith(BROKEN) and not any(figures["headline"]) and len(failed) == 1:
            single[row.split(", ", 1)[1]] = next(iter(failed))
    return single


def table(by_row: dict[str, dict[str, list[float]]]) -> str:
    """One line a network, then sensitivity and specificity with their intervals, and what one check alone catches."""
    lines = [
        "| network | clean | by itself | worst case | undefended | verdict | failed checks |",
        "|" + "---|" * 7,
    ]
    caught, passed = [], []
    for row, figures in by_row.items():
        kind, name = row.split(", ", 1)
        n = len(figures["clean"])
        headlines, worst = figures["headline"], figures["worst"]
        bases = figures.get("undefended worst", [])
        numbered = [
            bool(h) and (kind == HONEST or claims(w, b))
            for h, w, b in zip(headlines, worst, bases or worst, strict=True)
        ]
        (passed if kind == HONEST else caught).extend(t if kind == HONEST else not t for t in numbered)
        verdict = (
            f"{sum(numbered)} of {n} with a number"
            if kind == HONEST
            else f"caught {n - sum(numbered)} of {n}"
            + (", claims nothing" if sum(headlines) > sum(numbered) else "")
        )
        by = Counter({k.removeprefix("by "): len(v) for k, v in figures.items() if k.startswith("by ")})
        causes = ", ".join(k for k, _ in by.most_common()) or "–"
        lines.append(
            f"| {kind}: {name} | {_mean(figures['clean'])} | {_mean(figures.get('itself', []))} | {_mean(worst)} | "
            f"{_mean(bases)} | {verdict} | {causes} |"
        )
    for what, results in (("broken defences caught", caught), ("honest networks with a number", passed)):
        share = wilson(sum(results), len(results))
        lines.append(
            f"| **{what}** | | | | | **{share.k} of {share.n}** "
            f"[{100 * share.low:.0f} %, {100 * share.high:.0f} %] | |"
        )
    single = ", ".join(f"{name} ({check})" for name, check in alone(by_row).items()) or "none"
    lines.append(f"| **broken defences that one check alone catches** | | | | | {single} | |")
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    known = [v for v in values if v == v]
    return f"{100 * sum(known) / len(known):.1f} %" if known else "–"


if __name__ == "__main__":
    main()
