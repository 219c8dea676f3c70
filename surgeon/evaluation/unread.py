"""Settings that an evaluation does not read: reported, so that nobody takes them as part of its numbers."""

from __future__ import annotations

from collections.abc import Collection

from surgeon.evaluation.parts import beyond, diagnosed
from surgeon.recipe import Evaluation
from surgeon.results.named import NAMED, steppers


def unread(
    settings: Evaluation,
    sources: Collection[str] = (),
    *,
    cut: bool = False,
    side: int | None = None,
    count: int | None = None,
) -> tuple[str, ...]:
    """Name settings that were changed, and have no part in the evaluation.

    Args:
        settings: Settings of the evaluation.
        sources: Names of the models to transfer attacks from.
        cut: Whether the network had surgery, whose record is attacked by.
        side: Shorter side of the images in pixels; None for unknown.
        count: Number of images; None for unknown.

    Returns:
        One sentence for each reason; empty if every setting that was changed is read.

    Examples:
        >>> from surgeon.recipe import Evaluation
        >>> unread(Evaluation(suite="quick", steps=100))
        ('steps=100 has no part in this evaluation: the attacks of the suite quick are its own; basic takes others',)
        >>> unread(Evaluation(suite="basic", steps=100))
        ()
    """
    suite, informed = settings.suite, cut and settings.adaptive
    own = f"the attacks of the suite {suite} are its own; basic takes others"
    groups = (
        (suite != "basic", ("attacks", "steps"), own),
        (
            suite == "basic" and not informed and not set(steppers()) & set(settings.attacks),
            ("steps",),
            "no attack that was asked for makes steps",
        ),
        (settings.norm != "union", ("union",), "norm is not union"),
        (
            all(NAMED[a].of.bounded for a in (settings.attacks if suite == "basic" else settings.beside)),
            ("curve_eps",),
            "no attack looks for the smallest distance",
        ),
        (suite != "paper", ("paper",), "only the suite paper follows a paper's tables"),
        (not settings.certify, ("certify_samples", "certify_draws"), "certify names no noise"),
        (not cut, ("adaptive", "adaptive_samples"), "the network has no record of a surgery"),
        (cut and not informed, ("adaptive_samples",), "adaptive=false leaves out what the record knows"),
        (not settings.shifts, ("shift_samples",), "shifts names no folder"),
        (not beyond(settings), ("gaussian", "uniform", "patches"), "curves need beyond=true"),
    )
    ignored = tuple(
        f"{' and '.join(changed)} {'has' if len(changed) == 1 else 'have'} no part in this evaluation: {why}"
        for applies, names, why in groups
        if applies and (changed := _changed(settings, names))
    )
    if sources and suite == "basic" and not diagnosed(settings):
        ignored += (
            f"nothing was transferred from {', '.join(sources)}: the suite basic has no transfer without "
            "diagnostics; take another suite",
        )
    if count is not None:
        ignored += _more_than_there_are(settings, count, certifies=bool(settings.certify), informed=informed)
    fine = [n for n in settings.patches if side is not None and n > side]
    if fine and beyond(settings) and _changed(settings, ("patches",)):
        ignored += (
            f"patches={_written(tuple(fine))} has no part in this evaluation: images with a side of {side} pixels "
            "are not cut into more pieces",
        )
    return ignored


def _more_than_there_are(
    settings: Evaluation, count: int, *, certifies: bool, informed: bool
) -> tuple[str, ...]:
    """Name numbers of images that were asked for and are others than there are."""
    remarks: tuple[str, ...] = ()
    if settings.samples not in (None, count):
        remarks += (f"samples={settings.samples}, and {count} images were given: all of them are evaluated",)
    for name, applies, what in (
        ("certify_samples", certifies, "certified"),
        ("adaptive_samples", informed, "tried by what the record knows"),
        ("diagnostics", True, "used by the diagnostics"),
    ):
        if applies and _changed(settings, (name,)) and (getattr(settings, name) or 0) > count:
            remarks += (
                f"{name}={getattr(settings, name)}, and there are {count} images: all of them are {what}",
            )
    return remarks


def _changed(settings: Evaluation, names: tuple[str, ...]) -> list[str]:
    """Write those of the settings that differ from their defaults."""
    return [
        f"{name}={_written(value)}"
        for name in names
        if (value := getattr(settings, name)) != type(settings).model_fields[name].default
    ]


def _written(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)
