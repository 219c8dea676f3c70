"""Admit networks to surgery, and plans to networks: what arrives, what was done to it before, and what is refused.

What is known of a network is one value, `Subject`, made here and only passed on afterwards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from surgeon.edits import Note, Plan
from surgeon.errors import ArgumentError, SurgeryError, either
from surgeon.graph.measuring.measure import measure
from surgeon.graph.rewritten.names_taken import demand_free
from surgeon.graph.rewritten.network import Rewritten
from surgeon.graph.sites.fitness import refuse_unfit
from surgeon.graph.trees.fingerprints import fingerprint, layers_hash
from surgeon.graph.trees.own_modes import demand_settled
from surgeon.graph.trees.paths import has
from surgeon.images import check_taken, image_size, times
from surgeon.methods.needs import needs_data
from surgeon.models.facts import input_size_of
from surgeon.models.finite import not_finite
from surgeon.models.norm_statistics import demand_room
from surgeon.models.pixels import Normalized
from surgeon.surgery.standing import Finding, changed_sites, demand
from surgeon.values import has_values
from surgeon.wrappers import in_python, refuse_wrapped


@dataclass(frozen=True)
class Subject:
    """A network that surgery, or the end of one, is requested for.

    Attributes:
        model: The caller's network, which is left as it is.
        record: The record of earlier surgery, or None.
        size: (C, H, W) or (C, T, H, W) of the images that it is looked at with, or None.
        stated: Whether the caller stated that size.
        fingerprint: Hash of the network's structure before any surgery; empty where nothing is to be cut.
        changed: The sites that are no longer what the surgery left; looked for where it is to be undone.
        past: The record, or that of a surgery which was folded away.
    """

    model: nn.Module
    record: Plan | None
    size: tuple[int, ...] | None
    stated: bool
    fingerprint: str = ""
    changed: tuple[Finding, ...] = ()
    past: Plan | None = None


def admitted(model: nn.Module, input_size: tuple[int, ...] | None, *, stack: bool) -> Subject:
    """Admit a network as a subject of surgery.

    Args:
        model: The network.
        input_size: (C, H, W) or (C, T, H, W) as the caller stated it, or None.
        stack: Whether a network that has had surgery is admitted.

    Returns:
        The subject; if no size was stated, with that in its record, else with that in the model's configuration.

    Raises:
        SurgeryError: The network cannot be copied or traced (`fitness.py`), has had surgery while `stack` is
            False, has a part that had surgery by itself, would change in its own `eval()` (`own_modes.py`), has
            attributes of names that a rewritten one has for itself (`names_taken.py`), or the input size is invalid.
    """
    refuse_unfit(model)
    record = surgery_of(model)
    _refuse_second(model, record, stack=stack)
    if record is None:
        demand_free(model, Rewritten)
    demand_settled(model)
    stated = image_size(input_size, model)
    size = stated or (record and record.input_size) or input_size_of(model)
    known = record.fingerprint if record else fingerprint(model)
    return Subject(model, record, size, stated is not None, known, past=record)


def to_undo(model: nn.Module, verb: Literal["fold", "revert"]) -> Subject:
    """Admit a rewritten network whose surgery is to be undone.

    Args:
        model: The network.
        verb: What is to be done.

    Returns:
        The subject, at the size of its record, with the sites that have changed since.

    Raises:
        SurgeryError: The network has had no surgery (the message says where a rewritten network is inside it); a
            site is gone, or, for a revert, no longer what the surgery left there; or a norm no longer has running
            statistics to restore.
    """
    record = surgery_of(model)
    if record is None:
        raise SurgeryError(
            f"there is nothing to {verb}: this {type(model).__name__} has had no surgery{_inside(model, verb)}"
        )
    changed = changed_sites(model, record)
    if verb == "fold":
        _refuse_gone(model, changed)
    elif displaced := model.__dict__.get("displaced"):
        demand_room(model, displaced.beside(displaced.statistics))
        demand([f for f in changed if f.site in displaced.modules and not f.same], "reverted")
    return Subject(model, record, record.input_size, False, record.fingerprint, changed, record)


def to_export(model: nn.Module, input_size: Sequence[int] | None) -> Subject:
    """Admit a network that is to be exported: any, since it is neither traced for a cut nor taken apart here.

    Args:
        model: The network, stock, rewritten or folded.
        input_size: (C, H, W) or (C, T, H, W) as the caller stated it, or None.

    Returns:
        The subject; if no size was stated, with that in its record, else with that in the model's configuration.

    Raises:
        SurgeryError: `model` is not a torch.nn.Module.
        ArgumentError: The input size is invalid, or `model` is a `Normalized`, is wrapped or compiled by TorchScript.
    """
    if isinstance(model, Normalized):
        raise ArgumentError(
            "a Normalized checks the range of its images, which no file does: export its .model, and normalise images "
            "by mean and std before the file runs"
        )
    record = surgery_of(model)
    refuse_wrapped(model, "export")
    past: Plan | None = record or model.__dict__.get("folded_from")
    stated = image_size(input_size, model)
    size = stated or (past.input_size if past else None) or input_size_of(model)
    return Subject(model, record, size, stated is not None, past=past)


def folding_copy(subject: Subject, network: nn.Module) -> Subject:
    """Have a copy of a rewritten network, as in another precision, folded in its place.

    Args:
        subject: The network as it was admitted.
        network: Its copy.

    Returns:
        The subject with the copy as its model.

    Raises:
        SurgeryError: A site is gone.
    """
    assert subject.record is not None
    changed = changed_sites(network, subject.record)
    _refuse_gone(network, changed)
    return dataclasses.replace(subject, model=network, changed=changed)


def _refuse_gone(model: nn.Module, changed: Sequence[Finding]) -> None:
    """Raise SurgeryError if nothing stands at a site any more."""
    demand([f for f in changed if f.site and not has(model, f.site)], "folded")


def findings(model: nn.Module) -> tuple[Finding, ...]:
    """List the sites of a rewritten network that are not what its record says.

    Args:
        model: The network.

    Returns:
        The findings, as of `standing.changed_sites`; empty for a stock network.
    """
    record = surgery_of(model)
    return changed_sites(model, record) if record else ()


def sized(subject: Subject, images: Tensor | None, *, free: bool) -> tuple[Subject, list[Note]]:
    """Return the subject at the size of the calibration images, if the network runs on them.

    Args:
        subject: The subject.
        images: (N, C, H, W), or None.
        free: Whether the size may still change.

    Returns:
        The subject, and a note if the size differs from the configured one.

    Raises:
        DataError: The network does not take the images' channels.
    """
    if images is None or subject.stated or not free:
        return subject, []
    check_taken(images, subject.model, "calibration images")
    size, known = tuple(images.shape[1:]), subject.size
    if known == size or measure(subject.model, size).error:
        return subject, []
    at_theirs = dataclasses.replace(subject, size=size, stated=True)
    if known is None:
        return at_theirs, []
    text = f"cut for {times(size)}, the size of the calibration images; the model is configured for {times(known)}"
    return at_theirs, [Note(code="images", severity="info", text=text)]


def surgery_of(model: nn.Module) -> Plan | None:
    """Return the record of the surgery on a network, or None for a stock network.

    Args:
        model: Any network.

    Returns:
        The Plan that was carried out, with what was measured in `execution`; None if there was no surgery.

    Raises:
        SurgeryError: `model` is not a torch.nn.Module.

    Examples:
        >>> import surgeon
        >>> model = surgeon.create_model("zoo/shallow1")
        >>> surgeon.surgery_of(model) is None
        True
        >>> surgeon.surgery_of(surgeon.apply(model, "kap")).recipe
        'kap'
    """
    if not isinstance(model, nn.Module):
        raise SurgeryError(f"surgery is for a torch.nn.Module, not for a {type(model).__name__}")
    record = model.__dict__.get("surgery")
    return record if isinstance(record, Plan) else None


def changed_by_fold(model: nn.Module) -> Plan | None:
    """Return the record of a folded network that has layers which its architecture has not.

    Args:
        model: Any network.

    Returns:
        The record of the surgery that was folded; None for any other network.
    """
    folded = model.__dict__.get("folded_from")
    left = isinstance(folded, Plan) and folded.leaves_architecture and surgery_of(model) is None
    return folded if left else None


def part_cut(model: nn.Module) -> str:
    """Say where in a network there is another one that has had surgery by itself.

    Args:
        model: Any network, such as a module around a rewritten one: a Sequential, AveragedModel, DDP, torch.compile.

    Returns:
        The first such part as Python writes it, `model[1]` or `model.module`; "" without one.
    """
    name = next((n for n, m in model.named_modules() if n and surgery_of(m) is not None), "")
    return in_python(name) if name else ""


def _inside(model: nn.Module, verb: str) -> str:
    """Say where the rewritten network is inside a wrapper such as AveragedModel, DDP or torch.compile."""
    part = part_cut(model)
    return f", the network in it has: surgeon.{verb}({part})" if part else ""


def _refuse_second(model: nn.Module, record: Plan | None, *, stack: bool) -> None:
    """Raise SurgeryError if a part of the network has had surgery by itself, or, without `stack`, the network has."""
    if part := part_cut(model):
        raise SurgeryError(
            "a part of this model has had surgery by itself; revert that part first"
            + either(f": surgeon.revert({part})", "")
        )
    if record is None or stack:
        return
    there = ", ".join(f"{len(record.of(k))} × {k}" for k in record.operations)
    raise SurgeryError(
        f"this model has had surgery already ({there}); "
        + either(
            "pass stack=True to add to it, or start from surgeon.revert(model)",
            "--stack adds to it; surgeon revert gives the network before",
        )
    )


def check_plan(subject: Subject, made: Plan) -> None:
    """Check that a plan can be carried out on a network.

    Args:
        subject: The network.
        made: The plan.

    Raises:
        SurgeryError: The plan is for another network or too large, or the network's tensors have no values, or some
            that are NaN or infinite.
    """
    _refuse_empty(subject.model)
    if words := not_finite(subject.model):
        raise SurgeryError(f"this {type(subject.model).__name__} {words}")
    if subject.fingerprint != made.fingerprint:
        raise SurgeryError(
            f"the plan was made for {made.model} (fingerprint {made.fingerprint}), not for this "
            f"{type(subject.model).__name__} (fingerprint {subject.fingerprint}); make it anew with surgeon.plan"
        )
    if made.layers and layers_hash(subject.model) != made.layers:
        raise SurgeryError(
            f"the plan was made for this {type(subject.model).__name__} with other layers, or with other settings of "
            "them, such as a stride; make it anew with surgeon.plan"
        )
    _refuse_large(made)


def check_executed(subject: Subject, record: Plan, structure: str | None) -> None:
    """Check that the cuts of a record can be made again on a network.

    Args:
        subject: The network.
        record: The record.
        structure: The fingerprint of what code made of the network after its surgery, or None if it is as it was.

    Raises:
        SurgeryError: The network is neither the one that was cut nor what code made of it, or as for
            `check_plan`.
    """
    _refuse_empty(subject.model)
    if subject.fingerprint not in (record.fingerprint, structure):
        later = f" and changed in code after it (then {structure})" if structure else ""
        raise SurgeryError(
            f"the surgery was done on {record.model} (fingerprint {record.fingerprint}){later}, and this "
            f"{type(subject.model).__name__} is another network (fingerprint {subject.fingerprint})"
        )
    _refuse_large(record)


def _refuse_large(made: Plan) -> None:
    """Raise SurgeryError if a plan adds too much."""
    large = [n.text for n in made.notes if n.code == "too-large"]
    if large:
        raise SurgeryError(large[0])


def check_images(images: Tensor | None, made: Plan) -> None:
    """Check that there are calibration images if a plan starts from some.

    Args:
        images: The images, or None.
        made: The plan.

    Raises:
        SurgeryError: No images are given, and the plan needs some.
    """
    if images is None and needs_data(made):
        raise SurgeryError(
            f"the plan starts from data ({needs_data(made)}): "
            + either(
                "pass calibration images, or plan without them",
                "give images (--calibration, or --data of convert); train and run draw their own for a network "
                "that is trained (--weights, --pretrained)",
            )
        )


def _refuse_empty(model: nn.Module) -> None:
    """Raise SurgeryError if parameters have no values: on the meta device, or fake tensors."""
    tensors = ((n, t) for n, t in model.named_parameters() if not is_lazy(t) and not has_values(t))
    empty, tensor = next(tensors, (None, None))
    if empty is not None and tensor is not None:
        raise SurgeryError(
            f"{empty} is "
            f"{'on the meta device' if tensor.device.type == 'meta' else 'a fake tensor'}, "
            "without values; a plan can be made of it, but a cut needs weights: "
            f"model.to_empty(device=…), and load them first"
        )
