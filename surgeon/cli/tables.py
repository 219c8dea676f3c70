"""Plans, sites and checks as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from surgeon.cli.sheet import Column, Sheet
from surgeon.edits import EFFECT_TEXT, Choice, Growth, Plan, Searched
from surgeon.numerals import percent, span
from surgeon.selection import Site

if TYPE_CHECKING:
    from surgeon.evaluation import Assessment
    from surgeon.pipeline import Study
    from surgeon.pipeline.conversion import Conversion
    from surgeon.pipeline.converting import Outcome
    from surgeon.results.assessment import Certified

_MEASURED = "--data SOURCE (labelled images) measures the accuracy before and after"
_FITTED = (
    "; with --data or --calibration SOURCE layers are fitted to images and batch norms' statistics are taken again, "
    "which keeps more of a trained network"
)
_EFFECT_COLOUR = {"exact": "green", "folds": "green", "approximated": "yellow", "destroyed": "red"}


def console() -> Console:
    """A console on stdout; wide enough for tables where there is no terminal. Text is printed as it is,
    without markup."""
    found = Console(markup=False, emoji=False)
    return found if found.is_terminal else Console(width=140, markup=False, emoji=False)


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
        parts += [_search(name, found) for name, found in plan.execution.searches.items()]
    for note in plan.notes:
        colour = "yellow" if note.severity == "warning" else "cyan"
        parts.append(Text.assemble((f"{note.severity}: ", colour), note.text))
    return Group(*parts)


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
            Text(EFFECT_TEXT[edit.effect].split(" (")[0], _EFFECT_COLOUR[edit.effect]),
            "yes" if edit.folds else "no",
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
    rows = [("parameters", plan.before.parameters, plan.growth.parameters)]
    if plan.measured:
        rows += [
            ("FLOPs", plan.before.flops, plan.growth.flops),
            ("activations", plan.before.activations, plan.growth.activations),
        ]
    rows.append(("masks, caches and other buffers", plan.before.buffers, plan.growth.buffers))
    for name, before, added in rows:
        after = before + added
        table.add(name, short(before), short(after), f"{after / before:.3f}×" if before else "")
    return table


def _effect(plan: Plan) -> Text:
    text = Text.assemble(
        "function: ",
        (EFFECT_TEXT[plan.effect], _EFFECT_COLOUR[plan.effect]),
        (
            "; folds into a stock checkpoint: "
            f"{'yes' if plan.folds else 'no' if not any(e.folds for e in plan.edits) else 'in part'}"
        ),
    )
    drift = plan.execution.drift if plan.execution else None
    if drift is not None:
        text.append(
            f"; measured drift of the logits {drift.relative:.2g}, same prediction on {percent(drift.agreement)} of "
            f"{drift.images} {'calibration images' if drift.source == 'calibration' else 'noise images'}"
        )
    elif plan.effect == "approximated":
        text.append("; its drift is measured when the cut is made")
    return text


def _search(operation: str, search: Searched) -> RenderableType:
    """The values of a setting that were tried, and what each costs."""
    head = Text.assemble(
        f"{operation}.{search.setting}: ",
        (f"{search.value:g}", "bold"),
        f"; the largest of those tried that changes at most {percent(search.budget)} of the predictions on "
        f"{search.images} images",
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


def growth_text(growth: Growth, before: Growth) -> str:
    """`+1.2 % parameters, +3.4 % FLOPs`."""
    parts = []
    for name, label in (("parameters", "parameters"), ("flops", "FLOPs")):
        base = getattr(before, name)
        if base:
            parts.append(f"{100 * getattr(growth, name) / base:+.1f} % {label}")
    return ", ".join(parts)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else "×".join(map(str, shape))


def _text(value: object) -> str:
    return "" if value is None else str(value)


def assessment_table(found: Assessment) -> RenderableType:
    """An evaluation: the verdict first, then accuracies with their intervals, then what is to be known of them."""
    table = Sheet("", Column("accuracy", right=True), "95 % interval", Column("note", prose=True))
    table.add("clean", *_share(found.summary.clean), f"{found.summary.clean.n} images")
    for row in found.summary.rows:
        notes = ["standing after this and the attacks before it"] if row.cascade else []
        if row.std is not None:
            notes.append(f"mean of {len(row.shares)} seeds {percent(row.mean)} ± {percent(row.std)}")
        if row.group == "paper" and row.of_right is not None:
            notes.append(f"{percent(row.of_right)} of the images that are right as they are")
        if row.draws is not None:
            notes.append(", ".join(f"{k} of draws {percent(v)}" for k, v in row.draws.items()))
        table.add(f"{row.group}: {row.label}", *_share(row.shares[0]), "; ".join(notes))
    table.add("worst case", *_share(found.summary.worst), "image by image")
    parts: list[RenderableType] = [_verdict(found), table]
    parts += [part for one in found.certified for part in _certified(one)]
    if found.diagnosis is not None:
        parts += [Text("diagnostics", "bold"), _checks(found)]
    parts += [Text(note) for note in found.notes]
    parts += [Text(f"{f.severity}: {f.text}") for f in found.summary.findings]
    return Group(*parts)


def study_table(found: Study) -> RenderableType:
    """The arms of a study: accuracies, and their differences from the stock network fine-tuned equally."""
    table = Sheet(
        "arm",
        "clean",
        "worst case",
        Column("clean, difference", spare=True),
        Column("worst case, difference", spare=True),
        "diagnostics",
    )
    for arm in found.arms:
        table.add(
            arm.name,
            _over_seeds(arm.clean),
            _over_seeds(arm.worst),
            _difference(arm.clean_difference),
            _difference(arm.worst_difference),
            _passed(arm.reliable),
        )
    note = "differences in points from the stock network fine-tuned equally, paired image by image, with 95 % intervals"
    return Group(Text(f"{found.recipe} on {found.model}", "bold"), table, Text(note))


def conversion_table(found: Conversion) -> RenderableType:
    """What a cut cost a trained network: its logits, its accuracy, and the layers that lost most."""
    table = Sheet("", Column("", prose=True), header=False)
    table.add("function", EFFECT_TEXT[found.effect])
    table.add("folds", "yes" if found.folds else "no")
    if found.calibration:
        table.add("calibrated on", f"{found.calibration} images; {len(found.refitted)} layers fitted to them")
    else:
        fitted = "" if found.effect == "exact" else _FITTED
        table.add("images", f"none were given: {_MEASURED}{fitted}")
    if found.choice:
        used = next((t.label for t in found.choice.trials if t.used), "as asked for")
        table.add("start", f"{used}: {found.choice.why}")
    if found.drift:
        table.add(
            "same prediction",
            f"{percent(found.drift.agreement)} of {found.drift.images} {found.drift.source} images",
        )
        table.add("logit drift", f"{found.drift.relative:.3f}")
    if found.accuracy:
        right = found.accuracy
        table.add(
            "accuracy",
            f"{percent(right.before / right.images)} before, {percent(right.after / right.images)} after "
            f"({right.images} test images, {right.both} right both times)",
        )
    table.add("seconds, with measuring", f"{found.seconds:.1f}")
    layers = Sheet("layer, in execution order", Column("its output moved by", right=True))
    for name, moved in found.layers.items():
        layers.add(name, f"{moved:.3f}")
    notes = [Text(f"note: {note}") for note in found.notes]
    return Group(table, *notes, layers) if found.layers else Group(table, *notes)


def conversions_table(results: Sequence[Outcome]) -> RenderableType:
    """A row a checkpoint."""
    table = Sheet(
        "checkpoint",
        Column("function", prose=True),
        "accuracy",
        Column("same prediction", spare=True),
        Column("seconds", spare=True),
    )
    for checkpoint, found, before in results:
        name = checkpoint.name
        if isinstance(found, Exception):
            table.add(name, Text(str(found), "red"))
            continue
        right = found.accuracy
        table.add(
            name,
            EFFECT_TEXT[found.effect],
            f"{percent(right.before / right.images)} → {percent(right.after / right.images)}"
            if right
            else "",
            percent(found.drift.agreement) if found.drift else "",
            "was there" if before else f"{found.seconds:.1f}",
        )
    return table


def _over_seeds(values: Sequence[float]) -> str:
    from statistics import fmean, stdev

    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{percent(fmean(values))}{spread}"


def _difference(found: Any) -> str:
    if found is None:
        return "control"
    p = found.pairs[0].p if len(found.pairs) == 1 else None
    told = f", p {p:.2g}" if p is not None else f", {len(found.pairs)} seeds"
    return f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]{told}"


def _passed(reliable: Sequence[bool | None]) -> str:
    if all(r is None for r in reliable):
        return "not made"
    return "passed" if all(reliable) else "FAILED"


def _verdict(found: Assessment) -> Text:
    head = found.summary.headline
    if head is not None:
        low, high = head.share.low, head.share.high
        return Text.assemble(
            (percent(head.share.value), "bold green"), f" [{percent(low)}, {percent(high)}] {head.text}"
        )
    reasons = "; ".join(found.summary.refused) or "no attack was made"
    return Text.assemble(("no number to quote: ", "bold red"), reasons)


def _certified(found: Certified) -> Iterable[RenderableType]:
    """The certified accuracy of one σ at some radii."""
    yield Text(f"certified by smoothing with σ = {found.sigma:g}", "bold")
    table = Sheet("within an L2 radius of", Column("accuracy", right=True), "95 % interval")
    every = -(-len(found.points) // 6)
    for point in found.points[::every]:
        table.add(f"{point.level:g}", *_share(point.share))
    yield table
    silent = f"no certificate for {percent(found.abstained)} of them"
    yield Text(f"{found.images} images, {found.draws:,} draws each; {silent}")


def _checks(found: Assessment) -> Sheet:
    table = Sheet("", "", Column("", prose=True), Column("", prose=True), header=False)
    for check in found.diagnosis.checks if found.diagnosis else ():
        mark = (
            Text("FAILED", "red")
            if check.failed
            else Text("advice", "yellow")
            if check.advice
            else Text("ok", "green")
        )
        table.add(mark, check.code, ", ".join(check.figures), check.reason if check.failed else check.advice)
    return table


def _share(share: Any) -> tuple[str, str]:
    return percent(share.value), span(share.low, share.high)
