"""Look at a network: find its sites, before anything is decided."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from surgeon.edits import Edit, Note, Plan
from surgeon.errors import SurgeryError, either
from surgeon.graph.comparing.beyond import leaves_alone
from surgeon.graph.measuring.signatures import needed_inputs, of_one_input
from surgeon.graph.rewritten.module_tree import bare
from surgeon.graph.sites.fitness import refuse_unfit
from surgeon.graph.sites.followed import seen_of
from surgeon.graph.sites.survey import Survey
from surgeon.graph.trees.one_at_a_time import one_at_a_time
from surgeon.host import in_own_state
from surgeon.images import channels_of, image_size
from surgeon.models.facts import input_size_of, name_of
from surgeon.selection import Site
from surgeon.surgery.door import Subject, surgery_of
from surgeon.torch_private import NormBase
from surgeon.values import has_values


@dataclass(frozen=True)
class Looked:
    """A network that was looked at: all that edits are decided by.

    Attributes:
        subject: The network as the caller gave it.
        tree: The same as a plain tree of modules; not to be changed.
        survey: Its sites, its traceable regions, its costs.
        trained: Whether its batch norms have seen images.
        notes: Remarks for the plan.
    """

    subject: Subject
    tree: nn.Module
    survey: Survey
    trained: bool
    notes: tuple[Note, ...]


@one_at_a_time
@in_own_state()
@leaves_alone
def sites(model: nn.Module, *, input_size: tuple[int, ...] | None = None) -> tuple[Site, ...]:
    """List every place of a network where an operation can cut, in execution order.

    Args:
        model: The network, which is left untouched.
        input_size: (C, H, W), or (C, T, H, W) for video. Default: that of an earlier surgery, else the size
            in the model's own configuration. Without either, shapes are None.

    Returns:
        The sites; their `name`, `kind`, `stage`, `channels` and `kernel` are what selectors choose by.

    Raises:
        SurgeryError: The network cannot be copied, or torch.fx can trace no part of it.

    Examples:
        >>> import surgeon
        >>> [site.name for site in surgeon.sites(surgeon.create_model("zoo/shallow1"))]
        ['input', 'features.conv1', 'features.bn1', 'features.relu1', 'fc']
    """
    return look(model, input_size=input_size).sites


@one_at_a_time
@in_own_state()
@leaves_alone
def look(model: nn.Module, *, input_size: tuple[int, ...] | None = None) -> Survey:
    """Return what `plan` and `apply` see of a network; pass it to both as `seen`, so that they look once.

    It is valid until a module of the network is replaced or its code takes another branch.

    Args:
        model: The network, which is left untouched.
        input_size: As for `sites`.

    Returns:
        The survey: sites, traceable regions, costs, and what torch.fx cannot trace.

    Raises:
        SurgeryError: The network cannot be copied, or torch.fx can trace no part of it.

    Examples:
        >>> import surgeon
        >>> from surgeon.surgery import look
        >>> model = surgeon.create_model("zoo/shallow1")
        >>> seen = look(model)
        >>> len(surgeon.plan(model, "kap", seen=seen).edits)
        2
    """
    refuse_unfit(model)
    record = surgery_of(model)
    size = image_size(input_size, model) or (record and record.input_size) or input_size_of(model)
    return seen_of(bare(model, share=True)[0], size, edits=_edits_of(record))


def looked(
    subject: Subject, survey: Survey | None = None, refused: Mapping[str, str] | None = None
) -> Looked:
    """Look at a network, once for all plans that are made of it.

    Args:
        subject: The network.
        survey: What `look` returned for it, or None to make a survey.
        refused: As for `seen_of`.

    Returns:
        What was found.

    Raises:
        SurgeryError: torch.fx can trace no part of the network, or it does not run at the stated size.
    """
    if survey is None:
        edits = _edits_of(subject.record)
        survey = seen_of(bare(subject.model, share=True)[0], subject.size, refused, edits)
    tree = bare(subject.model, share=True)[0] if subject.record else subject.model
    _check_runs(subject, tree, survey)
    _refuse_widened(subject, survey)
    return Looked(subject, tree, survey, _looks_trained(tree), tuple(_notes_of(survey, subject.size)))


def _edits_of(record: Plan | None) -> tuple[Edit, ...]:
    return record.edits if record else ()


def _check_runs(subject: Subject, tree: nn.Module, seen: Survey) -> None:
    """Raise SurgeryError if the network does not run on images of the size that the caller stated."""
    if not subject.stated or seen.regions[0].name or not (seen.measured and seen.measured.error):
        return
    name, size = name_of(subject.model), subject.size or ()
    more = needed_inputs(tree)[1:]
    if more:
        raise SurgeryError(
            f"{name} takes other inputs than an image ({', '.join(more)}), so that it cannot be run here on "
            f"{_size_words(size)}: leave it out, which does for all but operations that need sizes, such as weight "
            f"maps; {of_one_input(tree)}"
        )
    taken = channels_of(tree)
    if taken not in (None, size[0]):
        meant, why = _meant(size, int(taken or 0))
        raise SurgeryError(
            f"{name} takes images of {taken} channels, not of {size[0]}{why}: write {_size_words(meant)}"
            + either("", "" if why else f", or build it for them: --in-chans {size[0]}")
        )
    error = seen.measured.error
    way = (
        "; it was run under torch.no_grad(), as every evaluation is: have its code ask for gradients only "
        "`if x.requires_grad` or `if torch.is_grad_enabled()`"
        if re.search(r"retain_grad|does not require grad", error)
        else ""
    )
    raise SurgeryError(f"{name} does not run on an image of {size}: {error}{way}")


def _refuse_widened(subject: Subject, seen: Survey) -> None:
    """Raise SurgeryError if an earlier surgery's modules give other channels than what stands behind their sites."""
    if subject.record is None or seen.measured is None or not seen.measured.widened:
        return
    there = ", ".join(subject.record.operations)
    raise SurgeryError(
        f"nothing can be added to {there}: {seen.measured.widened[0]} gives other channels than its layer lets "
        "through, and a second surgery sees modules alone; "
        + either(
            "apply both at once, surgeon.apply(STOCK, [FIRST, SECOND]), or start from surgeon.revert(model)",
            "apply both recipes to the stock network at once, FIRST+SECOND",
        )
    )


def _meant(size: tuple[int, ...], channels: int) -> tuple[tuple[int, ...], str]:
    """The size that was meant by one whose first number is not the channels, and what the given one looks like."""
    if len(size) == 4 and size[1] == channels:
        return size[1:], " (a size is that of one image, without the batch)"
    if len(size) == 3 and size[-1] == channels:
        return (channels, *size[:-1]), " (channels come first)"
    return (channels, *size[1:]), ""


def _size_words(size: tuple[int | None, ...]) -> str:
    """Write a size as the caller would: as an argument, or as a command-line option."""
    return either(f"input_size={size}", "--input-size " + ",".join(map(str, size)))


def _looks_trained(model: nn.Module) -> bool:
    """Say whether any batch norm's running mean has moved from its initial zeros.

    False too for networks without batch norms, or without values (meta device).
    """
    for module in model.modules():
        if isinstance(module, NormBase) and isinstance(module.running_mean, torch.Tensor):
            if not has_values(module.running_mean):
                return False
            if bool(module.running_mean.any()):
                return True
    return False


_UNFOLLOWED = "torch.fx cannot follow the network as a whole"


def _notes_of(seen: Survey, size: tuple[int, ...] | None) -> list[Note]:
    """Collect notes on a survey: size unknown, parts not traceable, graphs valid for one size only."""
    notes = []
    if size is None:
        notes.append(
            Note(
                code="size",
                text="the input size is not known: shapes, FLOPs and memory are not counted; say it to have them",
            )
        )
    elif seen.measured and seen.measured.error:
        notes.append(
            Note(code="size", text=f"the network does not run on one image of {size}: {seen.measured.error}")
        )
    if seen.regions[0].name:
        parts = ", ".join(r.name for r in seen.regions[:3]) + (", …" if len(seen.regions) > 3 else "")
        why = seen.refused.get("")
        whole = f"no graph stands for the network as a whole ({why})" if why else _UNFOLLOWED
        notes.append(
            Note(code="partial", text=f"{whole}; it is cut inside {parts}, and stays of its own class")
        )
    by_reason: dict[str, list[str]] = {}
    for name, why in seen.refused.items():
        by_reason.setdefault(why, []).append(name)
    for why, names in by_reason.items():
        parts = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        if parts:
            notes.append(Note(code="partial", text=f"{parts} keeps its Python code: {why}"))
    for region in [r for r in seen.regions if r.traced.questions]:
        notes.append(
            Note(
                code="partial",
                text=f"the code of {region.name or 'the network'} asks {' and '.join(region.traced.questions)} beside "
                "its own layers: its graphs hold what it computes where the answer is no, and where it is yes a call "
                "is an error",
            )
        )
    sized = [r.name or "the network" for r in seen.regions if r.traced.sized]
    if sized:
        notes.append(
            Note(
                code="sized",
                text=f"{', '.join(sized)} branches on sizes: its graphs hold for {size}, and images of another size "
                f"get graphs of their own when they first come",
            )
        )
    return notes
