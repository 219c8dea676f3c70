"""Plans, sites and checks as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from surgeon.cli.sheet import Column, Sheet
from surgeon.edits import Plan
from surgeon.execution import Choice, Searched
from surgeon.numerals import percent
from surgeon.selection import Site

_EFFECT_COLOUR = {
    "exact": "green",
    "folds": "green",
    "approximated": "yellow",
    "changed": "yellow",
    "destroyed": "red",
}


_COUNTED = {"flops": "FLOPs", "buffers": "masks, caches and other buffers"}


def console() -> Console:
    """A console on stdout; wide enough for tables where there is no terminal. Text is printed as it is,
    without markup."""
    made = Console(markup=False, emoji=False)
    return made if made.is_terminal else Console(width=140, markup=False, emoji=False)


def plan_table(plan: Plan, *, full: bool = False) -> RenderableType:
    """A plan: its edits (the first 40 unless `full`), what it passes over, growth, effect and notes."""
    head = Text.assemble(
        (plan.recipe or "plan", "bold"),
        " on ",
        (plan.model, "bold"),
        f", input {'×'.join(map(str, plan.input_size)) if plan.input_size else 'unknown'}, seed {plan.seed}",
    )
    parts: list[RenderableType] = [head, _edits(plan, full)]
    if plan.passed_over:
        parts.append(_passed_over(plan))
    parts += [_growth(plan), _effect(plan)]
    if plan.execution and plan.execution.choice:
        parts.append(_choice(plan.execution.choice))
    if plan.execution:
        parts += [search_table(name, searched) for name, searched in plan.execution.searches.items()]
    for note in plan.notes:
        colour = "yellow" if note.severity == "warning" else "cyan"
        parts.append(Text.assemble((f"{note.severity}: ", colour), note.text))
    return Group(*parts)


def warning_text(text: str) -> Text:
    """A sentence as the notes of a plan that are warnings."""
    return Text.assemble(("warning: ", "yellow"), text)


def _edits(plan: Plan, full: bool) -> RenderableType:
    table = Sheet(
        "site",
        "operation",
        "adds",
        Column("replaces", spare=True),
        "function",
        Column("folds", spare=True),
        Column("parameters", right=True, spare=True),
    )
    shown = plan.edits if full else plan.edits[:40]
    for edit in shown:
        table.add(
            edit.site,
            edit.operation,
            (edit.layer or "").rpartition(".")[2],
            "yes" if edit.replaces else "",
            Text(plan.told(edit).split(" (")[0], _EFFECT_COLOUR[edit.effect]),
            ("changed" if edit.exchanges else "yes") if edit.folds else "no",
            f"{edit.growth.parameters:+,}" if edit.growth.parameters else "",
        )
    if len(shown) < len(plan.edits):
        return Group(table, Text(f"… and {len(plan.edits) - len(shown)} more (--full shows them)"))
    return table


def _passed_over(plan: Plan) -> Sheet:
    reasons: dict[tuple[str, str], list[str]] = {}
    for p in plan.passed_over:
        reasons.setdefault((p.operation, p.reason), []).append(p.site)
    table = Sheet("passed over", "operation", "first", Column("reason", prose=True))
    for (operation, reason), names in reasons.items():
        table.add(str(len(names)), operation, names[0], reason)
    return table


def _growth(plan: Plan) -> Sheet:
    table = Sheet("for one image", *(Column(title, right=True) for title in ("before", "after", "factor")))
    for name, (before, after) in plan.counted.items():
        factor = plan.factor(name)
        table.add(
            _COUNTED.get(name, name),
            short(before),
            short(after),
            f"{factor:.3f}×" if factor is not None else "",
        )
    return table


def _effect(plan: Plan) -> Text:
    text = Text.assemble(
        "function: " if plan.execution is None else "function at the cut: ",
        (plan.told(), _EFFECT_COLOUR[plan.effect]),
        f"; folds into a stock checkpoint: {plan.stock}",
    )
    drift = plan.execution.drift if plan.execution else None
    if drift is not None:
        text.append(
            f"; measured drift of the logits {drift.relative:.2g}, same prediction on {percent(drift.agreement)} of "
            f"{drift.images} {drift.source} images"
        )
    elif plan.execution is None and plan.effect == "approximated":
        text.append("; its drift is measured when the cut is made, of large networks with calibration images")
    return text


def search_table(operation: str, search: Searched) -> RenderableType:
    """The values of a setting that were tried, and what each costs."""
    none_larger = search.value == search.curve[0][0] < search.curve[-1][0]
    head = Text.assemble(
        f"{operation}.{search.setting}: ",
        (f"{search.value:g}", "bold"),
        f"; the largest of those tried that changes at most {percent(search.budget)} of the predictions on "
        f"{search.images} images{', and the smallest: no larger one keeps to that' if none_larger else ''}",
    )
    table = Sheet(search.setting, Column("predictions changed", right=True), "")
    for value, cost in search.curve:
        table.add(f"{value:g}", percent(cost), "used" if value == search.value else "")
    return Group(head, table)


def _choice(choice: Choice) -> RenderableType:
    """Which start was used and why, and what each that was tried keeps."""
    used = next((t.label for t in choice.trials if t.used), "as asked for")
    head = Text.assemble("start: ", (used, "bold"), f"; {choice.why}; fitted to {choice.fitted} others")
    if not choice.trials:
        return Text(f"start: {choice.why}; fitted to {choice.fitted}")
    table = Sheet(
        "start tried",
        "statistics of",
        Column("predictions kept", right=True),
        Column("drift of the logits", right=True),
        "",
    )
    for t in choice.trials:
        table.add(
            t.start,
            f"{t.statistics} images" if t.statistics else "the stock network",
            percent(t.drift.agreement),
            f"{t.drift.relative:.2g}",
            "used" if t.used else "",
        )
    return Group(head, table)


def sites_table(sites: Iterable[Site]) -> Sheet:
    """The sites of a network, in execution order."""
    table = Sheet(
        Column("#", right=True),
        "site",
        "kind",
        Column("class", spare=True),
        Column("stage", right=True),
        "input",
        "output",
        Column("kernel", spare=True),
        Column("groups", right=True, spare=True),
        Column("notes", spare=True),
    )
    for s in sites:
        notes = [
            s.role,
            s.family or "",
            "fused" if s.fused else "",
            "train only" if s.modes == ("train",) else "",
        ]
        notes += [f"called {s.calls}×" if s.calls > 1 else "", "writes the classes" if s.logits else ""]
        table.add(
            str(s.index),
            s.name,
            s.kind,
            s.cls,
            _text(s.stage),
            _shape(s.in_shape),
            _shape(s.out_shape),
            _shape(s.kernel),
            _text(s.groups),
            ", ".join(n for n in notes if n),
        )
    return table


def checks_table(checks: Iterable[Any]) -> Sheet:
    """The checks of `surgeon.verify`."""
    table = Sheet("", "", Column("", prose=True), header=False)
    mark = {True: Text("ok", "green"), False: Text("FAILED", "red"), None: Text("–", "dim")}
    for check in checks:
        table.add(mark[check.ok], check.name, check.detail)
    return table


def short(number: int) -> str:
    """A count with a unit: 11.7 M."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size:
            return f"{number / size:.2f} {unit}"
    return str(number)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else "×".join(map(str, shape))


def _text(value: object) -> str:
    return "" if value is None else str(value)
