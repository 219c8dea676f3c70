"""Evaluations, studies and conversions as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from surgeon.cli.sheet import Column, Sheet
from surgeon.cli.tables import search_table
from surgeon.effects import EFFECT_TEXT
from surgeon.numerals import percent, points, span
from surgeon.protocol.markdown import figure, measure, quotable, state, value
from surgeon.results.distances import DistanceCurve, curve_texts
from surgeon.results.shifted import SEVERITIES, Shift, shift_words
from surgeon.results.threat import size_text

if TYPE_CHECKING:
    from surgeon.evaluation import Assessment
    from surgeon.pipeline import Study
    from surgeon.pipeline.conversion import Conversion
    from surgeon.pipeline.converting import Outcome
    from surgeon.protocol import Protocol, Reproduction
    from surgeon.results.assessment import Certified


_MEASURED = "--data SOURCE (labelled images) measures the accuracy before and after"


_FITTED = (
    "; with --data or --calibration SOURCE layers are fitted to images and batch norms' statistics are taken again, "
    "which keeps more of a trained network"
)


def assessment_table(found: Assessment) -> RenderableType:
    """An evaluation: the verdict first, then accuracies with their intervals, then what is to be known of them."""
    table = Sheet("", Column("accuracy", right=True), "95 % interval", Column("note", prose=True))
    table.add("clean", *_share(found.summary.clean), f"{found.summary.clean.n} images")
    for row in found.summary.rows:
        notes = ["standing after this and the attacks before it"] if row.cascade else []
        if row.std is not None:
            notes.append(f"mean of {len(row.shares)} seeds {percent(row.mean)} ± {percent(row.std)}")
        if row.group in ("paper", "beside") and row.of_right is not None:
            notes.append(f"{percent(row.of_right)} of the images that are right as they are")
        if row.draws is not None:
            notes.append(", ".join(f"{k} of draws {percent(v)}" for k, v in row.draws.items()))
        table.add(f"{row.group}: {row.label}", *_share(row.shares[0]), "; ".join(notes))
    main = found.summary.main
    parts_of_union = [w for w in found.summary.worsts if main and main.eps is None and w.eps is not None]
    for part in parts_of_union:
        table.add(
            f"{part.group}: worst case {size_text(part.norm, part.eps)}",
            *_share(part.share),
            "image by image",
        )
    together = f"image by image, {main.norm}" if main and parts_of_union else "image by image"
    table.add("worst case", *_share(found.summary.worst), together)
    gain = [Text(found.gain.text, "bold")] if found.gain else []
    parts: list[RenderableType] = [*gain, _verdict(found), table]
    parts += [part for one in found.smallest for part in _distances(one)]
    parts += [part for one in found.certified for part in _certified(one)]
    parts += [part for one in found.shifts for part in _shifted(one, found.clean_error_on(one))]
    if found.checks:
        parts += [Text("diagnostics", "bold"), _checks(found)]
    if found.flags is not None:
        parts += [Text("RobustBench", "bold"), _rules(found)]
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
    if len(found.arms[0].seeds) > 1:
        note += "; accuracies are means over seeds ± their standard deviation"
    return Group(Text(f"{found.recipe} on {found.model}", "bold"), table, Text(note))


def protocol_table(found: Protocol, budget: str) -> RenderableType:
    """The rows of a protocol: network, recipes, training, and the paper's figures."""
    table = Sheet(
        "row", Column("network", spare=True), Column("recipes", prose=True), "epochs", *found.columns
    )
    for row in found.rows_of(budget):
        recipes, (model, _) = found.recipes_of(row, budget), found.network_of(row, budget)
        epochs = recipes[-1].training.epochs if recipes[-1].training else 0
        figures = [figure(found.rows[row].paper.get(c)) for c in found.columns_of(budget)]
        table.add(row, model, " + ".join(r.name for r in recipes), str(epochs), *figures)
    over = found.budgets[budget]
    runs = len(found.rows_of(budget)) * over.seeds
    told = [f"{found.paper}, {found.place}", f"budget {budget}, {runs} runs, {over.seeds} seeds: {over.note}"]
    claims = [
        Text(f"claim: {c.text} ({c.column}, {c.row} against {c.against}{', ' + c.than if c.than else ''})")
        for c in found.claims
    ]
    return Group(Text(found.title, "bold"), *map(Text, told), table, *claims)


def reproduction_table(found: Reproduction) -> RenderableType:
    """The paper's figures beside those measured, and the answers to its claims."""
    columns = [
        Column(f"{c}: paper → measured", spare=n > 1)
        for n, c in enumerate(found.protocol.columns_of(found.budget))
    ]
    table = Sheet("row", *columns, Column("a number may be quoted", spare=True), Column("seeds", spare=True))
    for row, cells in found.rows.items():
        shown = [f"{figure(cells[c].paper)} → {value(cells[c])}" for c in cells]
        runs = found.of(row)
        table.add(row, *shown, quotable(runs), str(len(runs)))
    answers = [Text(f"{a.answer}: {a.claim.text}{measure(a)}") for a in found.claims]
    head = f"{found.protocol.name}, {found.protocol.place}, budget {found.budget}; {state(found)}; shares in per cent"
    return Group(Text(head, "bold"), table, *answers)


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
    searches = [search_table(name, search) for name, search in found.searches.items()]
    return Group(table, *searches, *notes, *([layers] if found.layers else []))


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
    return f"{points(found.mean)} [{points(found.low)}, {points(found.high)}]{told}"


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


def _distances(found: DistanceCurve) -> Iterable[RenderableType]:
    """The accuracy at some sizes under attacks for the smallest distance, and the median distance."""
    yield Text(f"accuracy by ε under {found.name}", "bold")
    table = Sheet("ε", Column("accuracy", right=True), "95 % interval")
    for size, share in curve_texts(found):
        table.add(size, *_share(share))
    yield table
    middle = (
        "half of the images, or more, stand at every ε"
        if found.median is None
        else f"median distance {found.median:.4g}"
    )
    missed = (
        f"; {found.unturned} of {found.n} images were not turned at any distance" if found.unturned else ""
    )
    yield Text(f"{middle}{missed}")


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


def _shifted(found: Shift, clean_error: float | None) -> Iterable[RenderableType]:
    """What was measured on one shifted set: its figures, and the error on each corruption."""
    yield Text("; ".join(shift_words(found, clean_error)), "bold")
    kinds = dict.fromkeys(r.part for r in found.rows)
    if found.kind in ("cifar-c", "imagenet-c"):
        table = Sheet("error", *(Column(f"severity {s}", right=True) for s in SEVERITIES))
        for kind in kinds:
            own = {r.severity: r.share for r in found.rows if r.part == kind}
            table.add(kind.replace("_", " "), *(percent(1 - own[s].value) for s in SEVERITIES))
        yield table
    yield from (Text(note) for note in found.notes)


def _checks(found: Assessment) -> Sheet:
    table = Sheet("", "", Column("", prose=True), Column("", prose=True), header=False)
    for check in found.checks:
        mark = (
            Text("FAILED", "red")
            if check.failed
            else Text("advice", "yellow")
            if check.advice
            else Text("ok", "green")
        )
        table.add(mark, check.code, ", ".join(check.figures), check.reason if check.failed else check.advice)
    return table


def _rules(found: Assessment) -> Sheet:
    """Whether RobustBench would take the network, rule by rule."""
    from surgeon.results.acceptance import acceptance

    table = Sheet("", Column("", prose=True), header=False)
    for rule in acceptance(found):
        mark = ("?", "yellow") if rule.kept is None else ("yes", "green") if rule.kept else ("no", "red")
        table.add(Text(*mark), rule.text)
    return table


def _share(share: Any) -> tuple[str, str]:
    return percent(share.value), span(share.low, share.high)
