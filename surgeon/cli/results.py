"""Evaluations, studies and conversions as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

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
    from surgeon.results.differences import Difference
    from surgeon.results.statistics import Share


_MEASURED = "--data SOURCE (labelled images) measures the accuracy before and after"


_FITTED = (
    "; with --data or --calibration SOURCE layers are fitted to images and batch norms' statistics are taken again, "
    "which keeps more of a trained network"
)


def assessment_table(assessment: Assessment) -> RenderableType:
    """An evaluation: the verdict first, then accuracies with their intervals, then what is to be known of them."""
    table = Sheet("", Column("accuracy", right=True), "95 % interval", Column("note", prose=True))
    table.add("clean", *_share(assessment.summary.clean), f"{assessment.summary.clean.n} images")
    for row in assessment.summary.rows:
        notes = ["standing after this and the attacks before it"] if row.cascade else []
        if row.std is not None:
            notes.append(f"mean of {len(row.shares)} seeds {percent(row.mean)} ± {percent(row.std)}")
        if row.group in ("paper", "beside") and row.of_right is not None:
            notes.append(f"{percent(row.of_right)} of the images that are right as they are")
        if row.draws is not None:
            notes.append(", ".join(f"{k} of draws {percent(v)}" for k, v in row.draws.items()))
        table.add(f"{row.group}: {row.label}", *_share(row.shares[0]), "; ".join(notes))
    main = assessment.summary.main
    parts_of_union = [w for w in assessment.summary.worsts if main and main.eps is None and w.eps is not None]
    for part in parts_of_union:
        table.add(
            f"{part.group}: worst case {size_text(part.norm, part.eps)}",
            *_share(part.share),
            "image by image",
        )
    together = f"image by image, {main.norm}" if main and parts_of_union else "image by image"
    table.add("worst case", *_share(assessment.summary.worst), together)
    gain = [Text(assessment.gain.text, "bold"), Text(assessment.gain.trial)] if assessment.gain else []
    gain = [sentence for sentence in gain if sentence.plain]
    parts: list[RenderableType] = [*gain, _verdict(assessment), table]
    parts += [part for one in assessment.smallest for part in _distances(one)]
    parts += [part for one in assessment.certified for part in _certified(one)]
    parts += [part for one in assessment.shifts for part in _shifted(one, assessment.clean_error_on(one))]
    if assessment.checks:
        parts += [Text("diagnostics", "bold"), _checks(assessment)]
    if assessment.flags is not None:
        parts += [Text("RobustBench", "bold"), _rules(assessment)]
    parts += [Text(note) for note in assessment.notes]
    parts += [Text(f"{f.severity}: {f.text}") for f in assessment.summary.findings]
    return Group(*parts)


def study_table(result: Study) -> RenderableType:
    """The arms of a study: accuracies, and their differences from the stock network fine-tuned equally."""
    table = Sheet(
        "arm",
        "clean",
        "worst case",
        Column("clean, difference", spare=True),
        Column("worst case, difference", spare=True),
        "diagnostics",
    )
    for arm in result.arms:
        table.add(
            arm.name,
            _over_seeds(arm.clean),
            _over_seeds(arm.worst),
            _difference(arm.clean_difference),
            _difference(arm.worst_difference),
            _passed(arm.reliable),
        )
    note = "differences in points from the stock network fine-tuned equally, paired image by image, with 95 % intervals"
    if len(result.arms[0].seeds) > 1:
        note += "; accuracies are means over seeds ± their standard deviation"
    return Group(Text(f"{result.recipe} on {result.model}", "bold"), table, Text(note))


def protocol_table(protocol: Protocol, budget: str) -> RenderableType:
    """The rows of a protocol: network, recipes, training, and the paper's figures."""
    table = Sheet(
        "row", Column("network", spare=True), Column("recipes", prose=True), "epochs", *protocol.columns
    )
    for row in protocol.rows_of(budget):
        recipes, (model, _) = protocol.recipes_of(row, budget), protocol.network_of(row, budget)
        epochs = recipes[-1].training.epochs if recipes[-1].training else 0
        figures = [figure(protocol.rows[row].paper.get(c)) for c in protocol.columns_of(budget)]
        table.add(row, model, " + ".join(r.name for r in recipes), str(epochs), *figures)
    over = protocol.budgets[budget]
    runs = len(protocol.rows_of(budget)) * over.seeds
    lines = [
        f"{protocol.paper}, {protocol.place}",
        f"budget {budget}, {runs} runs, {over.seeds} seeds: {over.note}",
    ]
    claims = [
        Text(f"claim: {c.text} ({c.column}, {c.row} against {c.against}{', ' + c.than if c.than else ''})")
        for c in protocol.claims
    ]
    return Group(Text(protocol.title, "bold"), *map(Text, lines), table, *claims)


def reproduction_table(result: Reproduction) -> RenderableType:
    """The paper's figures beside those measured, and the answers to its claims."""
    columns = [
        Column(f"{c}: paper → measured", spare=n > 1)
        for n, c in enumerate(result.protocol.columns_of(result.budget))
    ]
    table = Sheet("row", *columns, Column("a number may be quoted", spare=True), Column("seeds", spare=True))
    for row, cells in result.rows.items():
        shown = [f"{figure(cells[c].paper)} → {value(cells[c])}" for c in cells]
        runs = result.of(row)
        table.add(row, *shown, quotable(runs), str(len(runs)))
    answers = [Text(f"{a.answer}: {a.claim.text}{measure(a)}") for a in result.claims]
    known = result.protocol
    head = f"{known.name}, {known.place}, budget {result.budget}; {state(result)}; shares in per cent"
    return Group(Text(head, "bold"), table, *answers)


def conversion_table(conversion: Conversion) -> RenderableType:
    """What a cut cost a trained network: its logits, its accuracy, and the layers that lost most."""
    table = Sheet("", Column("", prose=True), header=False)
    table.add("function", EFFECT_TEXT[conversion.effect])
    table.add("folds", "yes" if conversion.folds else "no")
    if conversion.calibration:
        table.add(
            "calibrated on",
            f"{conversion.calibration} images; {len(conversion.refitted)} layers fitted to them",
        )
    else:
        fitted = "" if conversion.effect == "exact" else _FITTED
        table.add("images", f"no images were given: {_MEASURED}{fitted}")
    if conversion.choice:
        used = next((t.label for t in conversion.choice.trials if t.used), "as asked for")
        table.add("start", f"{used}: {conversion.choice.why}")
    if conversion.drift:
        table.add(
            "same prediction",
            f"{percent(conversion.drift.agreement)} of {conversion.drift.images} {conversion.drift.source} images",
        )
        table.add("logit drift", f"{conversion.drift.relative:.3f}")
    if conversion.accuracy:
        right = conversion.accuracy
        table.add(
            "accuracy",
            f"{percent(right.before / right.images)} before, {percent(right.after / right.images)} after "
            f"({right.images} test images, {right.both} right both times)",
        )
    table.add("seconds, with measuring", f"{conversion.seconds:.1f}")
    layers = Sheet("layer, in execution order", Column("its output moved by", right=True))
    for name, moved in conversion.layers.items():
        layers.add(name, f"{moved:.3f}")
    notes = [Text(f"note: {note}") for note in conversion.notes]
    searches = [search_table(name, search) for name, search in conversion.searches.items()]
    return Group(table, *searches, *notes, *([layers] if conversion.layers else []))


def conversions_table(results: Sequence[Outcome]) -> RenderableType:
    """A row a checkpoint."""
    table = Sheet(
        "checkpoint",
        Column("function", prose=True),
        "accuracy",
        Column("same prediction", spare=True),
        Column("seconds", spare=True),
    )
    for checkpoint, conversion, before in results:
        name = checkpoint.name
        if isinstance(conversion, Exception):
            table.add(name, Text(str(conversion), "red"))
            continue
        right = conversion.accuracy
        table.add(
            name,
            EFFECT_TEXT[conversion.effect],
            f"{percent(right.before / right.images)} → {percent(right.after / right.images)}"
            if right
            else "",
            percent(conversion.drift.agreement) if conversion.drift else "",
            "was there" if before else f"{conversion.seconds:.1f}",
        )
    return table


def _over_seeds(values: Sequence[float]) -> str:
    from statistics import fmean, stdev

    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{percent(fmean(values))}{spread}"


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return "control"
    p = difference.pairs[0].p if len(difference.pairs) == 1 else None
    certainty = f", p {p:.2g}" if p is not None else f", {len(difference.pairs)} seeds"
    return f"{points(difference.mean)} [{points(difference.low)}, {points(difference.high)}]{certainty}"


def _passed(reliable: Sequence[bool | None]) -> str:
    if all(r is None for r in reliable):
        return "not made"
    return "passed" if all(reliable) else "FAILED"


def _verdict(assessment: Assessment) -> Text:
    head = assessment.summary.headline
    if head is not None:
        low, high = head.share.low, head.share.high
        return Text.assemble(
            (percent(head.share.value), "bold green"), f" [{percent(low)}, {percent(high)}] {head.text}"
        )
    reasons = "; ".join(assessment.summary.refused) or "no attack was made"
    return Text.assemble(("no number to quote: ", "bold red"), reasons)


def _distances(curve: DistanceCurve) -> Iterable[RenderableType]:
    """The accuracy at some sizes under attacks for the smallest distance, and the median distance."""
    yield Text(f"accuracy by ε under {curve.name}", "bold")
    table = Sheet("ε", Column("accuracy", right=True), "95 % interval")
    for size, share in curve_texts(curve):
        table.add(size, *_share(share))
    yield table
    middle = (
        "half of the images, or more, stand at every ε"
        if curve.median is None
        else f"median distance {curve.median:.4g}"
    )
    missed = (
        f"; {curve.unturned} of {curve.n} images were not turned at any distance" if curve.unturned else ""
    )
    yield Text(f"{middle}{missed}")


def _certified(curve: Certified) -> Iterable[RenderableType]:
    """The certified accuracy of one σ at some radii."""
    yield Text(f"certified by smoothing with σ = {curve.sigma:g}", "bold")
    table = Sheet("within an L2 radius of", Column("accuracy", right=True), "95 % interval")
    every = -(-len(curve.points) // 6)
    for point in curve.points[::every]:
        table.add(f"{point.level:g}", *_share(point.share))
    yield table
    silent = f"no certificate for {percent(curve.abstained)} of them"
    yield Text(f"{curve.images} images, {curve.draws:,} draws each; {silent}")


def _shifted(shift: Shift, clean_error: float | None) -> Iterable[RenderableType]:
    """What was measured on one shifted set: its figures, and the error on each corruption."""
    yield Text("; ".join(shift_words(shift, clean_error)), "bold")
    kinds = dict.fromkeys(r.part for r in shift.rows)
    if shift.kind in ("cifar-c", "imagenet-c"):
        table = Sheet("error", *(Column(f"severity {s}", right=True) for s in SEVERITIES))
        for kind in kinds:
            own = {r.severity: r.share for r in shift.rows if r.part == kind}
            table.add(kind.replace("_", " "), *(percent(1 - own[s].value) for s in SEVERITIES))
        yield table
    yield from (Text(note) for note in shift.notes)


def _checks(assessment: Assessment) -> Sheet:
    table = Sheet("", "", Column("", prose=True), Column("", prose=True), header=False)
    for check in assessment.checks:
        mark = (
            Text("FAILED", "red")
            if check.failed
            else Text("advice", "yellow")
            if check.advice
            else Text("ok", "green")
        )
        table.add(mark, check.code, ", ".join(check.figures), check.reason if check.failed else check.advice)
    return table


def _rules(assessment: Assessment) -> Sheet:
    """Whether RobustBench would take the network, rule by rule."""
    from surgeon.results.acceptance import acceptance

    table = Sheet("", Column("", prose=True), header=False)
    for rule in acceptance(assessment):
        mark = ("?", "yellow") if rule.kept is None else ("yes", "green") if rule.kept else ("no", "red")
        table.add(Text(*mark), rule.text)
    return table


def _share(share: Share) -> tuple[str, str]:
    return percent(share.value), span(share.low, share.high)
