"""What a folder says of a network that code changed: after its name made it, and after its surgery."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from surgeon.errors import ArtifactWarning, SurgeonError
from surgeon.models import own
from surgeon.store import unnamed
from surgeon.store.beyond_name import Beyond, beyond_name
from surgeon.store.configuration import Configuration
from surgeon.store.rebuilding import listed, stock_of
from surgeon.surgery.before import as_before
from surgeon.surgery.door import fingerprint, surgery_of
from surgeon.warned import warn


def after_its_name(model: nn.Module, config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Compare a network with what its name makes, and with what its surgery was done on.

    A head of another number of classes is what the name makes with that number.

    Args:
        model: the network.
        config: the configuration that is to be written of it.
        folder: the folder that is written, for messages.

    Returns:
        Keys for the configuration: `settings` and `exchanged`, where a name makes the network; the number of
        classes, where it is that of the head; `structure`, where it is not what the surgery was done on.

    Warns:
        ArtifactWarning: `surgeon.load` needs a network; the text says which.
    """
    plain, record = as_before(model), surgery_of(model)
    keys: dict[str, Any] = {}
    if record and (now := fingerprint(plain)) != record.fingerprint:
        keys["structure"] = now
    try:
        classes, beyond = _by_name(plain, config, folder)
    except (SurgeonError, ValidationError):
        warn(unnamed.at_saving(config["architecture"], folder, changed="structure" in keys), ArtifactWarning)
        return keys
    if beyond.exchanged:
        given = (
            "give surgeon.load a network with the same changes and before the surgery, as surgeon.revert gives it, "
            "as model=…"
            if record
            else "give it to surgeon.load as model=…"
        )
        warn(
            f"this network is not {config['architecture']} as its name makes it: "
            f"{listed(beyond.exchanged)}. It was written to "
            f"{folder}: {given}, since timm, too, would make "
            "another one; where arguments made it so, save it "
            "with model_args={…}",
            ArtifactWarning,
        )
    return keys | classes | {"settings": beyond.settings, "exchanged": beyond.exchanged}


def _by_name(plain: nn.Module, config: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], Beyond]:
    """What a network differs by from its name, with the number of classes by which it differs least."""
    made = stock_of(Configuration.model_validate(config), folder)
    beyond = beyond_name(plain, made)
    number = _outputs(plain, made, config["num_classes"])
    if not beyond.exchanged or number is None or own.is_own(config["architecture"]):
        return {}, beyond
    other = {"num_classes": number, "pretrained_cfg": {**config["pretrained_cfg"], "num_classes": number}}
    there = beyond_name(plain, stock_of(Configuration.model_validate({**config, **other}), folder))
    return ({}, beyond) if there.exchanged else (other, there)


def _outputs(plain: nn.Module, made: nn.Module, classes: int | None) -> int | None:
    """The rows of tensors of which the name makes one a class; None where there are no other numbers, or several."""
    now, rows = dict(plain.named_parameters()), set()
    for name, old in made.named_parameters():
        shape = now[name].shape if name in now else old.shape
        if shape != old.shape and shape[1:] == old.shape[1:] and old.shape[:1] == (classes,):
            rows.add(shape[0])
    return rows.pop() if len(rows) == 1 else None
