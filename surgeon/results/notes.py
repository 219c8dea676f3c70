"""Notes that accompany an evaluation's numbers. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from surgeon.edits import Traits
from surgeon.results.assessment import Subject
from surgeon.results.counts import DRAWS
from surgeon.results.findings import CUT_OFF
from surgeon.results.threat import Attack


def notes_on(
    subject: Subject, traits: Traits | None, sources: Collection[str], attacks: Sequence[Attack]
) -> tuple[str, ...]:
    """Write notes on what was attacked and how.

    Args:
        subject: Description of the network.
        traits: Traits of its surgery; None for a stock network.
        sources: Names of the models that attacks were transferred from.
        attacks: The attacks that were made.

    Returns:
        One sentence for each note.
    """
    notes = []
    if subject.folded:
        notes.append(
            "the network folds exactly: the "
            + ("stock network" if subject.shipped is None else "network of plain layers")
            + f" it folds into was attacked (logits differ by {subject.fold_error:.1e})"
        )
    if traits is not None and traits.stochastic == "train":
        notes.append(
            "its noise is a matter of training: nothing of it is left in evaluation, so one draw is all there is"
        )
    if subject.mode == "random" and not subject.random:
        notes.append(
            "mode=random is for networks that are random at inference, and this one says the same at each pass: "
            f"{_averaged(attacks)}, which are all equal"
        )
    elif subject.random and subject.mode == "standard":
        notes.append(
            "mode=standard attacks the network as if it said the same at each pass, and it is random at inference: "
            "attacks follow single draws"
        )
    elif subject.mode == "random":
        notes.append(
            f"the network is random at inference: {_averaged(attacks)}, verdicts are by majority of {DRAWS}"
        )
    if traits is not None and traits.masked and not sources:
        notes.append(f"{CUT_OFF}: give other networks as sources (--source) for transfer attacks")
    if subject.classes < 4:
        notes.append(
            f"with {subject.classes} classes the targeted DLR does not exist: PGD on the "
            "margin takes the place of targeted APGD"
        )
    return tuple(notes)


class _Sizes(Protocol):
    @property
    def each(self) -> Sequence[tuple[str, float]]: ...


class Norms(Protocol):
    """What the settings of an evaluation say of norms: `surgeon.recipe.Evaluation` is one."""

    @property
    def norm(self) -> str | None: ...

    @property
    def suite(self) -> str: ...

    @property
    def union(self) -> _Sizes: ...


def _averaged(attacks: Sequence[Attack]) -> str:
    """What attacks did about the draws of a network that is random."""
    over = [a.eot for a in attacks if a.eot > 1]
    if not over:
        return "no attack averages over its draws"
    whose = "attacks" if len(over) == len(attacks) else f"{len(over)} of {len(attacks)} attacks"
    return f"{whose} average {max(over)} draws"


def told_of_norms(settings: Norms) -> tuple[str, ...]:
    """Say what an evaluation in L1, or in the union of norms, leaves out.

    Args:
        settings: Settings of the evaluation (`surgeon.recipe.Evaluation`).

    Returns:
        One sentence for each.
    """
    sentences = []
    with_l1 = settings.norm == "l1" or settings.norm == "union" and "l1" in dict(settings.union.each)
    if with_l1 and settings.suite != "basic":
        sentences.append("no library has Square in l1: there every attack follows gradients")
    if settings.norm == "union":
        sentences.append(
            "AutoAttack's flags, pictures and the trial of what the record knows are of "
            f"{settings.union.each[0][0]} alone, the first norm of the union"
        )
    return tuple(sentences)
