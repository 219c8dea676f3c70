"""Whether a network is what its name makes: channels that were pruned, or layers that were exchanged, are in no name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from surgeon.models import create_model, is_known
from surgeon.surgery.planning import fingerprint
from surgeon.surgery.tree import surgery_of


def unlike(model: nn.Module, config: Mapping[str, Any]) -> str:
    """What a network has other than the one that `config`, of its folder, makes by name; '' where nothing, or no name makes it.

    Of a rewritten network what it was before the surgery is looked at. No weights are made.
    """
    name = config["architecture"]
    if config.get("unwritten_args") or not is_known(name):
        return ""
    try:
        with torch.device("meta"):
            made = create_model(
                name, num_classes=config["num_classes"], input_size=config["pretrained_cfg"].get("input_size"),
                model_args=config["model_args"],
            )  # fmt: skip
    except Exception:  # what the name does not make is told by who loads it
        return ""
    record = surgery_of(model)
    if record is not None:
        alike = record.fingerprint == fingerprint(made) or type(made).__name__ != _stock_class(model)
        return "" if alike else "it had other tensors before the surgery"
    here, there = ({k: tuple(v.shape) for k, v in m.state_dict().items()} for m in (model, made))
    other = [k for k in here if here[k] != there.get(k)] or [k for k in there if k not in here]
    if not other:
        return ""
    shapes = [str(shapes.get(other[0], "missing")) for shapes in (here, there)]
    return f"{len(other)} of its tensors are others: {other[0]} is {shapes[0]}, and {shapes[1]} there"


def _stock_class(model: nn.Module) -> str:
    return model.__dict__.get("_stock_class", type(model)).__name__
