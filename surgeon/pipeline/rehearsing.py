"""What a run would be refused for, found out before any of several runs is trained: its plan and its settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from surgeon.data import DIGITS_SIZE
from surgeon.evaluation.suites import size_of
from surgeon.images import image_size
from surgeon.models.creating import bare_of_robustbench, create_model
from surgeon.models.facts import input_size_of
from surgeon.models.robustbench import is_robustbench
from surgeon.pipeline.demands import demand_epochs, demand_one_size
from surgeon.pipeline.starting import check_uncut
from surgeon.pipeline.training import part
from surgeon.recipe import Data, Evaluation, Recipe, Training
from surgeon.store.artifact import folder_of
from surgeon.store.blank import Blank
from surgeon.surgery import plan
from surgeon.training.augment import check_pad
from surgeon.training.setup import check_settings


def rehearse(
    recipes: Sequence[Recipe],
    model: str,
    *,
    data: str | None = None,
    evaluation: Evaluation | None = None,
    input_size: Sequence[int] | None = None,
    num_classes: int | None = None,
    model_args: dict[str, Any] | None = None,
    pretrained: bool = False,
    weights: str | None = None,
    seed: int = 0,
    **_others: Any,
) -> None:
    """Plan a run's surgery on its network and check its settings; no images are read, and no weights are made.

    Args:
        recipes: As for `surgeon.pipeline.run`, as are the following.
        model: The network's name, or its folder.
        data: The source.
        evaluation: How the run is evaluated; by default as the recipes say.
        input_size: (C, H, W) of one image.
        num_classes: Number of outputs.
        model_args: Further arguments of the model's builder.
        pretrained: Whether the name's own weights are loaded.
        weights: File of weights.
        seed: Of the plan.

    Raises:
        SurgeonError: The run would be refused, for its recipes, its network, its training or its evaluation.
    """
    training, images = part(recipes, "training", Training()), part(recipes, "data", Data())
    settings = evaluation or part(recipes, "evaluation", Evaluation())
    demand_epochs(training)
    check_settings(training, validated=True)
    surgery = [r for r in recipes if r.surgery]
    if folder_of(model):
        check_uncut(model, recipes)
        return
    size = image_size(tuple(input_size) if input_size else None)
    if size is not None:
        demand_one_size(size, images)
    elif data == "digits":
        size = (1, *(images.size or (2 * DIGITS_SIZE, 2 * DIGITS_SIZE)))
    with Blank():
        network = (
            bare_of_robustbench(model)
            if is_robustbench(model)
            else create_model(
                model,
                num_classes=num_classes,
                in_chans=size[0] if size else None,
                input_size=size,
                model_args=model_args,
            )
        )
    size = size or input_size_of(network)
    if size is not None:
        check_pad(training.pad, *size[-2:])
    operations: tuple[str, ...] = ()
    if surgery:
        known = bool(pretrained or weights) or is_robustbench(model)
        made = plan(network, surgery, input_size=size, seed=seed, trained=known, calibrated=known)
        operations = tuple(dict.fromkeys(e.operation.split("#")[0] for e in made.edits))
    size_of(settings, operations)
