"""What a folder says of a network that code changed: after its name made it, and after its surgery."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from surgeon.edits import Plan
from surgeon.errors import ArtifactWarning, SurgeonError
from surgeon.graph.trees.fingerprints import fingerprint, hashes_of_layers
from surgeon.models import own
from surgeon.models.naming import FOR_SURGEON
from surgeon.store import unnamed
from surgeon.store.beyond_name import Beyond, beyond_name
from surgeon.store.configuration import Configuration
from surgeon.store.rebuilding import folded_again, listed, stock_of
from surgeon.surgery.before import as_before
from surgeon.surgery.door import changed_by_fold, surgery_of
from surgeon.warned import warn


def after_its_name(model: nn.Module, config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Compare a network with what its name makes, and with what its surgery was done on.

    A head of another number of classes is what the name makes with that number.

    Args:
        model: the network.
        config: the configuration that is to be written of it.
        folder: the folder that is written, for messages.

    Returns:
        Keys for the configuration: `settings` and `exchanged` where a name makes the network, else `layers`;
        the number of classes, where it is that of the head; `structure`, where it is not what the surgery was done on.

    Warns:
        ArtifactWarning: `surgeon.load` needs a network; the text says which.
    """
    plain, record = as_before(model), surgery_of(model)
    folded = changed_by_fold(model)
    keys: dict[str, Any] = {}
    if record and (now := fingerprint(plain)) != record.fingerprint:
        keys["structure"] = now
    try:
        classes, beyond = _by_name(plain, config, folder, folded)
    except (SurgeonError, ValidationError):
        warn(unnamed.at_saving(config["architecture"], folder, changed="structure" in keys), ArtifactWarning)
        return keys | {"layers": {} if folded else hashes_of_layers(plain)}
    if beyond.exchanged:
        given = (
            "give surgeon.load a network with the same changes and before the surgery, as surgeon.revert gives it, "
            "as model=…"
            if record or folded
            else "give it to surgeon.load as model=…"
        )
        warn(
            f"this network is not {config['architecture']} as its name makes it: "
            f"{listed(beyond.exchanged)}. It was written to "
            f"{folder}: {given}, and timm refuses the folder, since it would make another one; where arguments made "
            "it so, save it with model_args={…}",
            ArtifactWarning,
        )
    return keys | classes | {"settings": beyond.settings, "exchanged": beyond.exchanged}


def for_surgeon_alone(model: nn.Module, config: Mapping[str, Any]) -> dict[str, str]:
    """Mark a folder whose weights are not of the network that its name makes, so that timm refuses it.

    Args:
        model: the network.
        config: the configuration that is to be written of it.

    Returns:
        The key `architecture`, where timm would make that one.
    """
    name = config["architecture"]
    other = surgery_of(model) or changed_by_fold(model) or config.get("exchanged")
    return {"architecture": FOR_SURGEON + name} if other and not set("/:") & set(name) else {}


def _by_name(
    plain: nn.Module, config: Mapping[str, Any], folder: Path, folded: Plan | None
) -> tuple[dict[str, Any], Beyond]:
    """What a network differs by from its name, with the number of classes by which it differs least.

    folded: the record of a surgery whose fold changed the architecture; loading makes both again.
    """

    def made_of(stated: Mapping[str, Any]) -> nn.Module:
        stock = stock_of(Configuration.model_validate(stated), folder)
        return stock if folded is None else folded_again(stock, folded, consume=True)

    made = made_of(config)
    beyond = beyond_name(plain, made)
    number = _outputs(plain, made, config["num_classes"])
    if not beyond.exchanged or number is None or own.is_own(config["architecture"]):
        return {}, beyond
    other = {"num_classes": number, "pretrained_cfg": {**config["pretrained_cfg"], "num_classes": number}}
    there = beyond_name(plain, made_of({**config, **other}))
    return ({}, beyond) if there.exchanged else (other, there)


def _outputs(plain: nn.Module, made: nn.Module, classes: int | None) -> int | None:
    """The rows of tensors of which the name makes one a class; None where there are no other numbers, or several."""
    now, rows = dict(plain.named_parameters()), set()
    for name, old in made.named_parameters():
        shape = now[name].shape if name in now else old.shape
        if shape != old.shape and shape[1:] == old.shape[1:] and old.shape[:1] == (classes,):
            rows.add(shape[0])
    return rows.pop() if len(rows) == 1 else None
