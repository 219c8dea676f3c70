"""The door of surgery: what network comes, what was done to it before, and what is refused.

What is known of a network is one value, `Subject`, made here and then only passed down.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from torch import nn

from surgeon.edits import Plan
from surgeon.errors import SurgeryError, either
from surgeon.extra_state import without_extra
from surgeon.images import image_size
from surgeon.models.facts import input_size_of
from surgeon.surgery.fitness import refuse_empty, refuse_unfit


@dataclass(frozen=True)
class Subject:
    """A network that surgery is asked for.

    model: the caller's, which is left as it is. record: of the surgery that it has had, or None. size: (C, H, W), or
    (C, T, H, W), of the images that it is looked at with, or None. stated: whether the caller said that size.
    """

    model: nn.Module
    record: Plan | None
    size: tuple[int, ...] | None
    stated: bool

    @property
    def fingerprint(self) -> str:
        """Hash of the network's structure before any surgery."""
        return self.record.fingerprint if self.record else fingerprint(self.model)


def admitted(model: nn.Module, input_size: tuple[int, ...] | None, *, stack: bool) -> Subject:
    """The network as a subject of surgery.

    Raises SurgeryError for a network in a state that cannot be copied or traced (`fitness.py`), one that has had surgery where
    `stack` does not allow more, and an input size that is none.
    """
    refuse_unfit(model)
    record = surgery_of(model)
    if not stack:
        _refuse_second(model, record)
    stated = image_size(input_size, model)
    return Subject(model, record, stated or input_size_of(model), stated is not None)


def check_plan(subject: Subject, made: Plan) -> None:
    """Raise SurgeryError for a plan of another network, one that is too large, and a network without values."""
    refuse_empty(subject.model)
    if subject.fingerprint != made.fingerprint:
        raise SurgeryError(
            f"the plan was made for {made.model} (fingerprint {made.fingerprint}), not for this "
            f"{type(subject.model).__name__} (fingerprint {subject.fingerprint}); make it anew with surgeon.plan"
        )
    large = [n.text for n in made.notes if n.code == "too-large"]
    if large:
        raise SurgeryError(large[0])


def surgery_of(model: nn.Module) -> Plan | None:
    """The record of the surgery on a network, or None for a stock one. Raises SurgeryError for what is no module."""
    if not isinstance(model, nn.Module):
        raise SurgeryError(f"surgery is for a torch.nn.Module, not for a {type(model).__name__}")
    found = model.__dict__.get("surgery")
    return found if isinstance(found, Plan) else None


def record_of(model: nn.Module, verb: str) -> Plan:
    """The record of the surgery on a network that is to be folded or reverted (`verb`). Raises SurgeryError where there was none."""
    record = surgery_of(model)
    if record is None:
        raise SurgeryError(
            f"there is nothing to {verb}: this {type(model).__name__} has had no surgery{_inside(model, verb)}"
        )
    return record


def _inside(model: nn.Module, verb: str) -> str:
    """Where the network that had it is, if that is wrapped in this one, as by AveragedModel, DDP or torch.compile."""
    name = next((n for n, m in model.named_modules() if n and surgery_of(m) is not None), "")
    if not name:
        return ""
    path = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in name.split("."))
    return f", the network in it has: surgeon.{verb}(model{path})"


def _refuse_second(model: nn.Module, record: Plan | None) -> None:
    if record is None:
        if any(surgery_of(m) is not None for m in model.modules()):
            raise SurgeryError("a part of this model has had surgery by itself; revert that part first")
        return
    there = ", ".join(f"{len(record.of(k))} × {k}" for k in record.operations)
    raise SurgeryError(
        f"this model has had surgery already ({there}); "
        + either(
            "pass stack=True to add to it, or start from surgeon.revert(model)",
            "--stack adds to it; surgeon revert gives the network before",
        )
    )


def fingerprint(model: nn.Module) -> str:
    """Hash of a network's structure: its class, and the names and shapes of its tensors."""
    digest = hashlib.sha256(type(model).__name__.encode())
    for name, tensor in sorted(without_extra(model.state_dict()).items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
    return digest.hexdigest()[:16]
