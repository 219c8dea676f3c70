"""Annealing: layers whose effect grows from nothing to all of it while the network is trained."""

from __future__ import annotations

from torch import nn

from surgeon.edits import Plan


def anneals(model: nn.Module) -> bool:
    """Whether any layer of the model is to be annealed."""
    return bool(_layers(model))


def anneal(model: nn.Module, progress: float) -> None:
    """Set every annealed layer to its share at `progress`, 0 (the network as it was) to 1 (the whole method).

    Kernel pooling and weight maps blend in, α = progress, and at 1 a weight map's convolution is dropped; defective
    masks keep 1 − (1 − p) · progress of their neurons, the masks nested. Which layers anneal is read from the model's record (`start: anneal`).
    """
    progress = min(max(progress, 0.0), 1.0)
    for layer, settings in _layers(model):
        if hasattr(layer, "set_alpha"):
            layer.set_alpha(progress)
        else:
            layer.set_keep(1 - (1 - settings["keep"]) * progress)


def _layers(model: nn.Module) -> list[tuple[nn.Module, dict]]:
    record = getattr(model, "surgery", None)
    if not isinstance(record, Plan):
        return []
    found = []
    for edit in record.edits:
        settings = record.operations[edit.operation]
        begins = edit.settings.get("start", settings.get("start"))
        place = edit.layer or (edit.site if edit.replaces else None)
        if begins == "anneal" and place:
            layer = model.get_submodule(place)
            if hasattr(layer, "set_alpha") or hasattr(layer, "set_keep"):
                found.append((layer, settings))
    return found
