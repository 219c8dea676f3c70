"""The network that a training begins with: its size, and how it is made and cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from surgeon.data import Images, Sets, drawn
from surgeon.errors import ArtifactError, RecipeError, either
from surgeon.models.beside_weights import input_size_beside
from surgeon.models.creating import create_model
from surgeon.models.facts import input_size_of
from surgeon.models.normalisation import as_said, settle
from surgeon.models.pixels import normalized
from surgeon.models.robustbench import is_robustbench
from surgeon.pipeline.idle import of_calibration, tell
from surgeon.pipeline.prepared import warn_of_pixels
from surgeon.recipe import Data, Recipe
from surgeon.store.artifact import folder_of, load
from surgeon.store.precision import in_float32
from surgeon.surgery import apply
from surgeon.verification import demand, verify

_TOLD = ("cache", "start", "images", "idle")
"""Notes that are printed: the memory that the training needs, what it starts from, and layers that add nothing."""


def own_size(model: str, data: Data, allowed: Sequence[str], weights: str | None = None) -> tuple[int, ...]:
    """The input size that a network has by itself, with the settings of its data over it.

    Args:
        model: name or folder.
        data: settings of the data.
        allowed: code that a folder may run.
        weights: file of weights, or None; the folder in which it lies may tell the size.

    Raises:
        ArtifactError: neither tells a size.
    """
    folder = folder_of(model)
    known = load(folder, allow_code=allowed) if folder else create_model(model)
    size = input_size_beside(weights) or input_size_of(known)
    if size is None and data.size is None:
        raise ArtifactError(
            f"{model} does not tell its input size; give {either('input_size', '--input-size')}"
        )
    if data.size is not None:
        return (1 if data.grayscale else (size or (3,))[0], *data.size)
    return tuple(size or ())


def check_uncut(model: str, recipes: Sequence[Recipe]) -> None:
    """Check that a folder's network is not to be cut.

    Args:
        model: the folder.
        recipes: the recipes.

    Raises:
        RecipeError: one of them has surgery.
    """
    if any(r.surgery for r in recipes):
        raise RecipeError(
            f"{model} is a folder, whose network is trained as it is: use the recipe 'plain' or another without "
            "surgery; `surgeon apply` cuts"
        )


def cut_network(
    recipes: Sequence[Recipe],
    model: str,
    sets: Sets,
    size: tuple[int, ...],
    classes: int,
    weights: str | None,
    weights_entry: str | None,
    pretrained: bool,
    model_args: dict[str, Any] | None,
    said: tuple[Sequence[float] | None, Sequence[float] | None],
    calibration_count: int,
    seed: int,
    allowed: Sequence[str],
    label: str,
) -> nn.Module:
    """Make the network that is trained: a stock one, cut where recipes say so, or that of a folder.

    Args:
        recipes: the recipes.
        model: name or folder.
        sets: images, of which some are drawn for starts of trained networks.
        size: input size.
        classes: number of classes.
        weights: file of weights, or None.
        weights_entry: which set of weights of that file.
        pretrained: whether the name's own weights are loaded.
        model_args: further arguments of the model.
        said: mean and deviation of the normalisation, where they were said.
        calibration_count: how many images are drawn.
        seed: of the weights and the cut.
        allowed: code that a folder may run.
        label: heads what is reported.

    Raises:
        RecipeError: a folder's network would be cut.
        VerificationError: the cut network does not do what its plan says.
    """
    operations = [r for r in recipes if r.surgery]
    place, known = folder_of(model), bool(weights or pretrained) or is_robustbench(model)
    why = (
        "the recipe has no surgery, whose start would be computed from images"
        if not operations
        else "starts are computed from images for trained weights, and these are random"
    )
    there = (
        (len(sets.train.x) if isinstance(sets.train, Images) else len(sets.train))
        if operations and known
        else None
    )
    tell(label, of_calibration(calibration_count, there, why))
    if place:
        check_uncut(model, recipes)
        stock = as_said(in_float32(load(place, allow_code=allowed), model), *said, record=model)
    else:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            stock = create_model(
                model,
                pretrained=pretrained,
                num_classes=classes,
                in_chans=size[0],
                input_size=size,
                weights=weights,
                weights_entry=weights_entry,
                model_args=model_args,
                mean=said[0],
                std=said[1],
            )
    if said[0] is not None:
        warn_of_pixels(stock, model, weights)
    settle(stock)
    if place or not operations:
        return stock
    images = normalized(drawn(sets.train, calibration_count, seed=seed), stock) if known else None
    rewritten = apply(stock, operations, input_size=size, seed=seed, trained=known, calibration=images)
    demand(verify(stock, rewritten))
    for note in rewritten.surgery.notes:
        if note.code in _TOLD:
            print(note.text, flush=True)
    return rewritten
