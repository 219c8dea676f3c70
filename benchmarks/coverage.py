"""docs/coverage.md from the rows of a sweep: `make coverage`, or `python -m benchmarks.coverage`.

The page is a function of the rows, and of which models and recipes there are; no number in it is typed but those
of `EARLIER`, whose rows are gone.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from surgeon.numerals import percent

Row = Mapping[str, Any]
STAGES = ("plan", "apply", "names", "visible", "forward", "backward", "fold", "identity", "save_load")
OUTCOMES = ("ok", "refused", "failed", "died")
_SHOWN = 4

HEAD = """# Coverage

Written by `make coverage` from what `make sweep` found (`benchmarks/sweep/found/`); not edited by hand.
`benchmarks/sweep/__init__.py` says what is done with a pair of model and recipe, and why not everything with each.
Random initial weights, the smallest input that an architecture takes, tensors without data where it is large.

- **ok**: everything that was tried holds.
- **refused**: the plan says that the architecture has no place for the recipe, and why.
- **failed**, **died**: a promise is broken, or the process was ended by its limits of memory or time. Each is listed
  below.
"""

EARLIER = Path(__file__).parent / "sweep" / "earlier.md"
"""What a sweep of earlier code found, whose rows are gone."""


def page(
    rows: Sequence[Row], families: Mapping[str, int], recipes: Sequence[str], plans: Sequence[Row] = ()
) -> str:
    """The page. families: the number of models in each. recipes: the columns; other rows do not count.
    plans: rows of pairs that were planned alone."""
    rows, plans = ([r for r in some if r["family"] in families] for some in (rows, plans))
    every, rows = (*plans, *rows), [r for r in rows if r["recipe"] in recipes]
    alone = len({r["model"] for r in plans} - {r["model"] for r in rows})
    parts = [
        HEAD,
        _summary(rows, families, recipes),
        _order(rows, families),
        "## Reach\n\n" + _reach(every) + _any_norm(every, alone),
        "## Stages\n\n" + _stages(rows),
        "## Recipes\n\n" + _recipes(rows, recipes),
        "## What failed\n\n" + _failures(rows),
        "## Why plans refuse\n\n" + _refusals(rows),
        "## Families\n\nA family is the Python module that defines the models. In a cell: "
        "pairs that are ok, then, where there "
        "are any, `r` refused and `f` failed or died.\n\n" + _families(rows, families, recipes),
        EARLIER.read_text(encoding="utf-8"),
    ]
    return "\n".join(parts).rstrip("\n") + "\n"


def _summary(rows: Sequence[Row], families: Mapping[str, int], recipes: Sequence[str]) -> str:
    models, total = {r["model"] for r in rows}, sum(families.values())
    counts = Counter(r["outcome"] for r in rows)
    placed = len(rows) - counts["refused"]
    without = sum(r.get("tensors") == "fake" and r["outcome"] == "ok" for r in rows)
    share = f" ({100 * counts['ok'] / placed:.2f} %)" if placed else ""
    return (
        f"**{len(models):,} of {total:,} models** swept, in "
        f"{len({r['family'] for r in rows})} of {len(families)} families: "
        f"{len(rows):,} of {total * len(recipes):,} pairs with {len(recipes)} recipes. "
        f"{counts['refused']:,} are refused for a "
        f"stated reason; of the other {placed:,}, **{counts['ok']:,} are ok{share}**, "
        f"{without:,} of them without data; "
        f"{counts['failed']:,} failed, {counts['died']:,} died.\n"
    )


def _order(rows: Sequence[Row], families: Mapping[str, int]) -> str:
    """Which models these are, where they are not all."""
    models = {r["model"] for r in rows}
    if len(models) == sum(families.values()):
        return ""
    return (
        "Models are swept broad first: the one with the fewest parameters of each family, then the second of each, and "
        "so on; these are the ones that it has come to, and `make sweep` goes on with the next. Where a recipe "
        "was not run on all of them, its row under *Recipes* has fewer.\n"
    )


def _reach(rows: Sequence[Row]) -> str:
    """How many layers with weights are sites."""
    by_model = {r["model"]: (r["reached"], r["layers"]) for r in rows if "layers" in r}
    reached, layers = (sum(n) for n in zip(*by_model.values(), strict=True)) if by_model else (0, 0)
    share = f" ({percent(reached / layers)})" if layers else ""
    whole = sum(a == b for a, b in by_model.values())
    return (
        f"**{reached:,} of {layers:,} convolutions and linear layers are sites{share}**, in {len(by_model):,} models; "
        f"all of them in {whole:,}. These are the models of this page; [reach](reach.md) has one of each family "
        "of timm and torchvision, the first by name, and names the layers that are not sites.\n\n"
        "Recipes stand at convolutions, linear layers, norms, activations, poolings and the input. No recipe stands at "
        "residual sums, attention, stems and heads: operations there are held by `tests/graph/test_kinds.py` and "
        "`test_functions_as_sites.py`, and not swept.\n\n"
    )


def _any_norm(rows: Sequence[Row], alone: int) -> str:
    """How many of the refusals of ANL remain where it may stand behind norms of any family.
    alone: how many of the models were planned alone."""
    refused = {r["model"] for r in rows if r["recipe"] == "anl" and r["outcome"] == "refused"}
    tried = {r["model"]: r for r in rows if r["recipe"] == "anl norms=any" and r["model"] in refused}
    outcomes = Counter(r["outcome"] for r in tried.values())
    left = Counter(reason(r["cause"]) for r in tried.values() if r["outcome"] == "refused")
    why = "; ".join(f"{n} × {cause}" for cause, n in left.most_common())
    total = len({r["model"] for r in rows if r["recipe"] == "anl"})
    return (
        f"`anl` stands behind batch norms, as in its paper, and is refused on {len(refused):,} of {total:,} models. "
        f"With `--set adversarial-noise.norms=any` {outcomes['ok']:,} of {len(tried):,} are ok, and "
        f"**{outcomes['refused']:,} remain refused**{f' ({why})' if why else ''}; "
        f"{outcomes['failed'] + outcomes['died']:,} failed or died. {alone:,} models were planned alone, without "
        "data, the first by name of each family first (`python -m benchmarks.sweep --plans` goes on).\n"
    )


def _stages(rows: Sequence[Row]) -> str:
    lines = []
    for stage in STAGES:
        seen = [(r["stages"].get(stage), r.get("tensors")) for r in rows]
        lines.append(
            [
                stage,
                *(f"{sum(s == ('ok', t) for s in seen):,}" for t in ("real", "fake")),
                f"{sum(s == 'none' for s, _ in seen):,}",
                f"{sum(s == 'failed' for s, _ in seen):,}",
            ]
        )
    return table(["stage", "ok, real tensors", "ok, without data", "does not apply", "failed"], lines)


def _recipes(rows: Sequence[Row], recipes: Sequence[str]) -> str:
    lines = []
    for recipe in recipes:
        mine = [r for r in rows if r["recipe"] == recipe]
        counts = Counter(r["outcome"] for r in mine)
        lines.append(
            [recipe, *(f"{counts[o]:,}" for o in OUTCOMES), f"{sum(r.get('edits', 0) for r in mine):,}"]
        )
    return table(["recipe", *OUTCOMES, "edits"], lines)


def _failures(rows: Sequence[Row]) -> str:
    by_cause: dict[tuple[str, str], list[str]] = {}
    for r in rows:
        if r["outcome"] in ("failed", "died"):
            stage = next((s for s in STAGES if r["stages"].get(s) == "failed"), "process")
            by_cause.setdefault((stage, reason(r["cause"])), []).append(f"{r['model']} × {r['recipe']}")
    if not by_cause:
        return "Nothing.\n"
    ordered = sorted(by_cause.items(), key=lambda item: (-len(item[1]), item[0]))
    return table(
        ["pairs", "stage", "cause", "which"], [[str(len(w)), s, c, _some(w)] for (s, c), w in ordered]
    )


def _refusals(rows: Sequence[Row]) -> str:
    by_reason: dict[str, list[Row]] = {}
    for r in rows:
        if r["outcome"] == "refused":
            by_reason.setdefault(reason(r["cause"]), []).append(r)
    if not by_reason:
        return "None does.\n"
    ordered = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    lines = [
        [f"{len(w):,}", f"{len({r['model'] for r in w}):,}", why, _some(sorted({r["recipe"] for r in w}))]
        for why, w in ordered
    ]
    return table(["pairs", "models", "reason", "recipes"], lines)


def reason(cause: str) -> str:
    """A cause without what differs from model to model: its place, its numbers, its names."""
    text = re.sub(r"^\w+Error: ", "", cause)
    text = re.sub(r"^recipe [\w-]+, operation [\w-]+: ", "", text)
    text = re.sub(r"(fails with others): .*", r"\1", text)
    text = re.sub(r" \([^()]*\)", "", text)
    text = re.sub(r"\b(?!torch\.fx)\w*[a-z]\w*(\.\w+)+\b(?!=)", "…", text)
    text = re.sub(r"(left|already|convolution,): [\w.…]+(:| is)", r"\1: …\2", text)
    text = re.sub(r"\d+(\.\d+)?(e[-+]?\d+)?(?!-D)", "N", text)
    return text.replace("|", "\\|").strip()[:220]


def _families(rows: Sequence[Row], families: Mapping[str, int], recipes: Sequence[str]) -> str:
    lines = []
    for family in sorted(families):
        mine = [r for r in rows if r["family"] == family]
        cells = [_cell(Counter(r["outcome"] for r in mine if r["recipe"] == recipe)) for recipe in recipes]
        lines.append([family, str(families[family]), str(len({r["model"] for r in mine})), *cells])
    return table(["family", "models", "swept", *recipes], lines)


def _cell(counts: Counter[str]) -> str:
    parts = [str(counts["ok"])] if counts["ok"] else []
    parts += [f"{counts['refused']}r"] if counts["refused"] else []
    bad = counts["failed"] + counts["died"]
    return " ".join([*parts, f"**{bad}f**"] if bad else parts)


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines)) + "\n"


def main() -> None:
    """Write the page, and print what it says first."""
    from benchmarks.sweep.kinds import recipes
    from benchmarks.sweep.order import all_models, family_of
    from benchmarks.sweep.rows import PAIRS, PLANS, read

    parser = argparse.ArgumentParser(description="Write docs/coverage.md from the rows of a sweep.")
    parser.add_argument("--rows", type=Path, default=PAIRS)
    parser.add_argument("--plans", type=Path, default=PLANS)
    parser.add_argument("--output", type=Path, default=Path("docs/coverage.md"))
    given = parser.parse_args()
    families = Counter(family_of(n) for n in all_models())
    known = set(all_models())
    rows, plans = ([r for r in read(path) if r["model"] in known] for path in (given.rows, given.plans))
    if not rows:
        parser.error(f"{given.rows} has no rows; `make sweep` writes them")
    text = page(rows, families, recipes(), plans)
    given.output.write_text(text, encoding="utf-8")
    print(next(line for line in text.splitlines() if line.startswith("**")))


if __name__ == "__main__":
    main()
