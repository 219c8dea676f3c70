"""The top of the page: each run's number, whether it can be trusted, its cost, and how runs differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from surgeon.report.reading import Run
from surgeon.report.words import GROWTH, size_words
from surgeon.results.gain import Gain
from surgeon.results.statistics import Share

_SEVERITIES = ("error", "warning", "note", "info")


@dataclass(frozen=True)
class Card:
    """A run's verdict in a few lines."""

    name: str
    subject: str
    status: str
    """good: a number to quote. warn: an upper bound. bad: no number to quote."""
    label: str
    share: Share | None
    """The number to quote; None without a headline."""
    reasons: tuple[str, ...]
    worst: Share
    size: str
    images: str
    clean: Share
    checks: str
    passed: bool | None
    cost: str
    quote: str
    gain: Gain | None
    """What the surgery adds under the attacker who knows it; None for a stock network."""


def card(run: Run) -> Card:
    """Return the verdict of a run.

    Args:
        run: The run.

    Returns:
        The card.
    """
    assessment, summary = run.found, run.found.summary
    main, head = summary.main, summary.headline
    status = "bad" if head is None else ("warn" if main and main.group in ("quick", "lean") else "good")
    label = {"bad": "Robust accuracy", "warn": "Robust accuracy, upper bound", "good": "Robust accuracy"}[
        status
    ]
    if head is not None and assessment.subject.random:
        label = "Robust accuracy, by majority of draws"
    source = " ".join(str(assessment.data[k]) for k in ("source", "split") if assessment.data.get(k))
    return Card(
        name=run.name,
        subject=", ".join(t for t in (assessment.subject.model, assessment.subject.recipe) if t),
        status=status,
        label=label,
        share=head.share if head else None,
        reasons=() if head else summary.refused or ("no attack was made",),
        worst=summary.worst,
        size=size_words(main.norm, main.eps) if main else "none",
        clean=summary.clean,
        images=f"{summary.clean.n}" + (f", {source}" if source else ""),
        checks=checks_text(run),
        passed=assessment.reliable,
        cost=_cost(run),
        quote=head.text if head else "",
        gain=assessment.gain,
    )


def checks_text(run: Run) -> str:
    """Summarise a run's diagnostics: `9 of 9 passed`, or which failed.

    Args:
        run: The run.

    Returns:
        The text; `not made` without diagnostics.
    """
    if run.found.diagnosis is None:
        return "not made"
    checks = run.found.diagnosis.checks
    failed = [c.code for c in checks if c.failed]
    text = f"{len(checks) - len(failed)} of {len(checks)} passed"
    if failed:
        text += f", failed: {', '.join(failed)}"
    if failed and run.found.summary.headline is not None:
        text += "; its randomness is answered by attacks on the mean over its noise"
    return text


def factors(run: Run) -> dict[str, float | None]:
    """Compute the cost of the attacked network, which is what is shipped, relative to the stock network.

    Args:
        run: The run.

    Returns:
        Factors of parameters, flops and speed; None for unknown ones.
    """
    plan, subject = run.found.plan, run.found.subject
    known: dict[str, float | None] = {}
    for name in ("parameters", "flops"):
        if plan is not None and subject.shipped is not None:
            before, after = getattr(plan.before, name), getattr(subject.shipped, name)
            known[name] = after / before if before and after else None
        elif plan is None and subject.shipped is not None:
            known[name] = None
        else:
            known[name] = 1.0 if plan is None or subject.folded else plan.factor(name)
    if plan is None and subject.shipped is not None:
        return known | {"speed": None}
    same = plan is None or (subject.folded and subject.stock_images_per_second is None)
    known["speed"] = 1.0 if same else (subject.speed_factor or (None,))[0]
    return known


def spread(run: Run) -> str:
    """The range of a measured factor of speed: ` [0.8 to 1.1]`.

    Args:
        run: The run.

    Returns:
        The text; '' where nothing was measured, as for a network that folds into the stock one.
    """
    factor = run.found.subject.speed_factor
    return f" [{factor[1]:.2f} to {factor[2]:.2f}]" if factor else ""


def _cost(run: Run) -> str:
    shipped = run.found.subject.shipped
    if run.found.plan is None:
        if shipped is None:
            return "none: a stock network"
        return f"{shipped.parameters:,} parameters, {shipped.flops:,} FLOPs; that before the surgery is not known"
    names = (("parameters", "{:.3f}× parameters"), ("flops", "{:.3f}× FLOPs"), ("speed", "{:.2f}× speed"))
    known = factors(run)
    text = ", ".join(form.format(known[name]) for name, form in names if known[name] is not None) + spread(
        run
    )
    into = "the stock network" if shipped is None else "plain layers of a changed architecture"
    return text + (f", folded into {into}" if run.found.subject.folded else "")


def growth(run: Run) -> list[tuple[str, str, float, float]]:
    """List what a surgery adds, for one image, and the change in speed.

    Args:
        run: The run.

    Returns:
        (quantity, what it counts, before the surgery, after it); empty for a stock network.
    """
    plan, subject = run.found.plan, run.found.subject
    if plan is None:
        return []
    counted = plan.counted
    if subject.shipped is not None:
        counted = {n: (before, getattr(subject.shipped, n)) for n, (before, _) in counted.items()}
    rows: list[tuple[str, str, float, float]] = [(*GROWTH[n], *both) for n, both in counted.items()]
    if subject.images_per_second and subject.stock_images_per_second:
        text = (
            "at inference on this machine, batches of 64"
            + (", after folding" if subject.folded else "")
            + (f"; turn by turn {subject.speed_factor[0]:.2f}×{spread(run)}" if subject.speed_factor else "")
        )
        rows.append(("images a second", text, subject.stock_images_per_second, subject.images_per_second))
    return rows


def edits(run: Run) -> str:
    """Describe a surgery: `3 edits (3 × kap), 1 site passed over`.

    Args:
        run: The run.

    Returns:
        The text; '' for a stock network.
    """
    plan = run.found.plan
    if plan is None:
        return ""
    by = ", ".join(f"{n} × {name}" for name, n in Counter(e.operation for e in plan.edits).items())
    return (
        f"{_count(len(plan.edits), 'edit')}"
        + (f" ({by})" if by else "")
        + f", {_count(len(plan.passed_over), 'site')} passed over"
    )


def passed_over(run: Run) -> list[tuple[str, str, int]]:
    """List the sites that a surgery left unchanged.

    Args:
        run: The run.

    Returns:
        (operation, reason, number of sites).
    """
    sites = run.found.plan.passed_over if run.found.plan else ()
    return [(*key, n) for key, n in Counter((s.operation, s.reason) for s in sites).items()]


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def remarks(runs: Sequence[Run]) -> list[tuple[str, str, str]]:
    """Collect the remarks on all runs, warnings first; a remark on several runs appears once.

    Args:
        runs: The runs.

    Returns:
        (names of the runs, or '' for all; severity; text).
    """
    by_text: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        said = [(f.severity, f.text) for f in run.found.summary.findings] + [
            ("note", n) for n in run.found.notes
        ]
        for key in dict.fromkeys(said):
            by_text.setdefault(key, []).append(run.name)
    order = sorted(by_text, key=lambda key: _SEVERITIES.index(key[0]))
    return [("" if len(by_text[k]) == len(runs) else ", ".join(by_text[k]), *k) for k in order]


def pictures(runs: Sequence[Run]) -> list[tuple[str, list[tuple[str, str, str, str]]]]:
    """Collect the pictures of all runs by kind.

    Args:
        runs: The runs.

    Returns:
        (title, (name of the run, data URL, alternative text, caption) for each run that has it).
    """
    by_kind: dict[str, list[tuple[str, str, str, str]]] = {}
    titles: dict[str, str] = {}
    for run in runs:
        for drawn in run.found.pictures:
            address = run.picture(drawn)
            if address:
                titles.setdefault(drawn.file, drawn.title)
                by_kind.setdefault(drawn.file, []).append((run.name, address, drawn.alt, drawn.caption))
    return [(titles[file], own) for file, own in by_kind.items()]
