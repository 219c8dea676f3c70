"""`surgeon train`: cut and train, in one folder that can be resumed at any moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from surgeon.arguments import checked_seed
from surgeon.data import DIGITS_SIZE, Records, Sets, absolute_source
from surgeon.disk.files import absolute, write_json, write_text
from surgeon.errors import ArtifactError, DataError, RecipeError
from surgeon.host import in_own_state
from surgeon.images import image_size
from surgeon.machine import made_by
from surgeon.models import own
from surgeon.models.creating import check_entry
from surgeon.models.facts import normalization_of, num_classes_of
from surgeon.models.preparation import trained_on_stretched
from surgeon.ownership import check_apart, claim, noted, owned, seal, taken
from surgeon.ownership.parts import TRAINING
from surgeon.pipeline import shown_images
from surgeon.pipeline.contents import absolute_model, check_contents, check_unchanged, made_from
from surgeon.pipeline.demands import (
    check_classes,
    check_names,
    demand_epochs,
    demand_free,
    demand_one_size,
    in_order,
    to_train_on,
)
from surgeon.pipeline.ended import TRAINED, check_ended
from surgeon.pipeline.head import check_outputs, outputs_for
from surgeon.pipeline.idle import CALIBRATION, facts, tell, without_effect
from surgeon.pipeline.lineage import lineage_of, of_run
from surgeon.pipeline.origin import dumped
from surgeon.pipeline.own_images import chosen
from surgeon.pipeline.same_work import check_continued, known_by_content, work_of
from surgeon.pipeline.starting import cut_network, own_size
from surgeon.pipeline.tested import validated_by_training
from surgeon.processes import left_at_exit
from surgeon.recipe import Data, Recipe, Training, dump
from surgeon.store.artifact import folder_of, load, save
from surgeon.training import fit
from surgeon.training.augment import check_pad
from surgeon.training.call import check_noise, idle_norms
from surgeon.training.checkpoint import CHECKPOINT
from surgeon.training.loop import History
from surgeon.training.setup import check_settings, make_accelerator

SETTINGS, RECIPE, MADE, FAULTS = "settings.json", "recipe.yaml", "made.json", "faults.json"


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        folder: the run's folder.
        history: losses and accuracies by epoch.
        sets: the images that the network was trained on and is to be tested on.
        contents: what the training was made from, by content.
        remarks: sentences on what is unknown about the images.

    Examples:
        >>> from surgeon.pipeline import train
        >>> done = train([recipe], "zoo/lenet5", "runs/kap", data="digits")  # doctest: +SKIP
        >>> done.folder, len(done.sets.train.x)  # doctest: +SKIP
    """

    folder: Path
    history: History
    sets: Sets
    contents: dict[str, Any]
    remarks: tuple[str, ...] = ()


@in_own_state(training=True)
def train(
    recipes: Sequence[Recipe],
    model: str,
    folder: str | Path,
    *,
    data: str | None = None,
    root: str | None = None,
    input_size: tuple[int, ...] | None = None,
    num_classes: int | None = None,
    weights: str | None = None,
    weights_entry: str | None = None,
    pretrained: bool = False,
    model_args: dict[str, Any] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    calibration_count: int = CALIBRATION,
    seed: int = 0,
    split_seed: int | None = None,
    allow_code: Sequence[str] = (),
    device: str | None = None,
    mixed_precision: str = "no",
    workers: int = 0,
    save_every: float = 300.0,
    contents: Mapping[str, Any] | None = None,
    untrained: bool = False,
    label: str = "",
) -> Trained:
    """Cut a model and train it, in a folder that can be resumed.

    Each finished stage stays in the folder. The same call continues after a kill, also in the middle of the
    training.

    The folder holds settings.json, recipe.yaml, made.json (versions, machine, command), faults.json (of the
    data), cut/ and trained/ (networks), and training/ (checkpoint, metrics, weights). Nothing is written
    before the data are read and the model is cut, so that a mistaken call leaves no folder behind. With
    several processes, the first one writes. The folder belongs to these settings and to the contents of the
    data and the weights: it is not continued if a file of the same name has other contents.

    Images are pixels in [0, 1], normalised by the mean and std of the model's configuration where it has
    them. Images that the model of a folder, or a file of weights inside a run, was trained on keep their
    split, and classes of the same names keep the order of the network's outputs.

    Args:
        recipes: their surgery, applied in order; training and data are those of the last recipe that has
            them, else the defaults.
        model: a name, or a folder or `hf-hub:` repository that surgeon wrote, whose network is trained
            further.
        folder: the folder to write or to continue.
        data: a source as for `surgeon.data.load_sets`. By default the digits for a fresh network, and the
            images recorded in a model's folder.
        root: the folder that the source needs, if it needs one.
        input_size: (C, H, W) of one image; by default the model's.
        num_classes: number of outputs; by default the number of classes of the data.
        weights: a checkpoint file to start from.
        weights_entry: which set of weights of the file, as for `surgeon.create_model`.
        pretrained: start from the library's pretrained weights.
        model_args: further arguments of the model's builder.
        mean: what images are normalised by, one number per channel, in units of [0, 1] pixels; by default as the
            model's configuration says. Given together with std.
        std: one number per channel.
        calibration_count: training images from which starts are computed, for a trained network.
        seed: seed of weights, surgery and order of the images.
        split_seed: seed of the data's split; by default `seed`, or that of the record.
        allow_code: modules that a folder may import, as for `surgeon.load`.
        device: by default the best there is.
        mixed_precision: "no", "fp16" or "bf16".
        workers: processes that read images.
        save_every: seconds between checkpoints.
        contents: contents that the data must have, as in `Trained.contents` of another training.
        untrained: allow `epochs: 0`, as a study's arms without fine-tuning need.
        label: heads the lines of progress; by default the folder's name.

    Returns:
        The folder, the history and the images.

    Raises:
        ArtifactError: the folder is in use, or holds something else or a run with other settings or contents.
        RecipeError: the training has no epochs, or its optimizer or schedule is unknown.
        ModelError: the model is a folder, and arguments of a model by name, or another normalisation than its
            record's, are given.
        DataError: the data cannot be split, have more classes than the model, or are not named although the
            model is trained already.

    Examples:
        >>> from surgeon.pipeline import train
        >>> from surgeon.recipe import load_recipe
        >>> recipe = load_recipe({"surgery": [{"op": "kap"}], "training": {"epochs": 5}})
        >>> done = train([recipe], "zoo/lenet5", "runs/kap", data="digits")  # doctest: +SKIP
        >>> sorted(p.name for p in done.folder.iterdir() if p.is_dir())  # doctest: +SKIP
        ['cut', 'trained', 'training']
    """
    from accelerate import PartialState

    folder, seed, model = Path(folder), checked_seed(seed), absolute_model(model)
    given = {
        "weights": weights,
        "weights_entry": weights_entry,
        "pretrained": pretrained,
        "model_args": model_args,
    }
    demand_free(model, given)
    check_entry(weights, weights_entry)
    weights = absolute(weights)
    training, data_settings = part(recipes, "training", Training()), part(recipes, "data", Data())
    if not untrained:
        demand_epochs(training)
    data, root = source = to_train_on(model, data, root, knows=bool(weights or pretrained))
    check_apart(folder, [data])
    size = image_size(input_size)
    if size is None and data == "digits" and folder_of(model) is None:
        size = (1, *(data_settings.size or (2 * DIGITS_SIZE, 2 * DIGITS_SIZE)))
    elif size is not None:
        demand_one_size(size, data_settings)
    earlier = lineage_of(folder_of(model), weights)
    before_it, meant = model if folder_of(model) else str(weights), data_settings.classes is not None
    how = chosen(
        earlier,
        before_it,
        data,
        root,
        data_settings=data_settings,
        seed=seed,
        split_seed=split_seed,
        trained=bool(folder_of(model) or weights),
    )
    data_settings, split_seed = how.settings, split_seed if how.origin is None else how.split_seed
    settings = {
        "recipes": [r.model_dump(mode="json") for r in recipes],
        "model": model,
        "data": absolute_source(data),
        "root": absolute(root),
        "input_size": list(size) if size else None,
        "num_classes": num_classes,
        "weights": noted(weights, folder),
        "pretrained": pretrained,
        "model_args": model_args or {},
        "seed": seed,
        "calibration_count": calibration_count,
        "mixed_precision": mixed_precision,
        "split_seed": split_seed,
        "earlier": dumped(earlier),
        "training": training.model_dump(mode="json"),
        "data_settings": data_settings.model_dump(mode="json"),
        **({} if weights_entry is None else {"weights_entry": weights_entry}),
        **{k: list(v) for k, v in (("mean", mean), ("std", std)) if v is not None},
    }
    with left_at_exit():
        PartialState()  # initialise first: `owned` must know the other processes
    with owned(folder):
        # Known only once the data are read; compared below.
        later = ["contents", "size", "earlier", *known_by_content(model, weights)]
        same_run = partial(work_of, folder=folder)
        before = claim(folder, SETTINGS, settings, "a run", later=later, compared=same_run)
        allowed = own.allowed_with(model, allow_code)
        size = size or own_size(model, data_settings, allowed, weights)
        sets = how.load(data, root, size)
        _transform(sets, training, size)
        check_pad(training.pad, *size[-2:])
        check_settings(training, validated=sets.val is not None)
        # Nothing is written yet: contradicting arguments and a missing device must leave no folder behind.
        outputs = outputs_for(model, sets.classes, size, num_classes, model_args)
        make_accelerator(device, mixed_precision, training)
        settings["size"] = list(size)
        settings["contents"] = now = made_from(sets, weights, folder_of(model))
        places = {"weights": weights, "model": model, "": absolute_source(data)}
        check_continued(folder, SETTINGS, before, settings, places, label or folder.name)
        check_contents(contents or {}, now, "the training before this one", places)
        cut, trained = folder / "cut", folder / TRAINED
        if folder_of(model) or (
            earlier and len(earlier[0].classes) == len(sets.classes)
        ):  # otherwise the network gets a new head
            check_names(before_it, source, sets.classes, earlier, meant=meant, how=in_order(sets.classes))
        lineage = of_run(folder, settings)
        with taken(folder, SETTINGS, settings, "a run", compared=same_run):
            with PartialState().main_process_first():  # the others wait, then find what it wrote
                if not cut.is_dir():
                    rewritten = cut_network(
                        recipes,
                        model,
                        sets,
                        size,
                        outputs,
                        weights,
                        weights_entry,
                        pretrained,
                        model_args,
                        (mean, std),
                        calibration_count,
                        seed,
                        allowed,
                        label or folder.name,
                    )
                    check_noise(rewritten, training)
                    if idle := idle_norms(rewritten, training):
                        print(idle, flush=True)
                    if folder_of(model):
                        has = num_classes_of(rewritten)
                        check_classes(model, has, source, sets.classes, num_classes, earlier)
                    else:
                        check_outputs(model, rewritten, sets.classes)
                    write_text(folder / RECIPE, "---\n".join(dump(r) for r in recipes))
                    write_json(folder / MADE, made_by())
                    write_json(folder / FAULTS, sets.faults.model_dump(mode="json"))
                    trained_on_stretched(rewritten)
                    save(rewritten, cut, beside=lineage)
            shown_images.of_training(label or folder.name, data, sets)
            for text in validated_by_training(sets):
                shown_images.remark(label or folder.name, text)
            # Always from the folder, never the network in memory: a resumed run and an uninterrupted one
            # then start from the same weights.
            _demand_checkpoint(folder, training)
            check_ended(folder)
            network = load(trained if trained.is_dir() else cut, allow_code=allowed)
            if training.epochs:
                known = facts(network, sets, data)
                tell(label or folder.name, without_effect(training, data_settings, known))
            history = fit(
                network,
                sets.train,
                sets.val,
                training,
                folder=folder / "training",
                seed=seed,
                device=device,
                mixed_precision=mixed_precision,
                workers=workers,
                save_every=save_every,
                label=label or folder.name,
                normalize=normalization_of(network),
            )
            check_unchanged(now, sets, absolute_source(data))
            with PartialState().main_process_first():
                if not trained.is_dir():
                    save(network.eval(), trained, beside=lineage)
                if PartialState().is_main_process:
                    seal(folder, (SETTINGS, RECIPE, MADE, FAULTS))
    return Trained(folder, history, sets, now, how.remarks)


def _demand_checkpoint(folder: Path, training: Training) -> None:
    """Raise ArtifactError for a finished run without its checkpoint: its network would be trained once more."""
    lost = folder / TRAINING / CHECKPOINT
    if training.epochs and (folder / TRAINED).is_dir() and not lost.is_file():
        raise ArtifactError(
            f"{folder} is trained, and {lost.relative_to(folder).as_posix()}, which says so, is gone: put it back; the "
            f"network in {TRAINED}/ can be evaluated as it is (surgeon evaluate {folder}); to train anew, "
            "choose another folder"
        )


def _transform(sets: Sets, training: Training, size: tuple[int, ...]) -> None:
    """Set timm's transforms on the training images, where the settings ask for them."""
    if training.transform is None:
        return
    if not isinstance(sets.train, Records):
        raise DataError(
            "training.transform is for images that are read one by one: set data.in_memory=never (training.pad and "
            "training.flip work on images in memory)"
        )
    from timm.data import create_transform

    if taken := [
        f"{name}={training.transform[name]}"
        for name in ("mean", "std", "normalize", "is_training", "input_size", "use_prefetcher")
        if name in training.transform
    ]:
        raise RecipeError(
            f"training.transform has {' and '.join(taken)}: the network's own normalisation is applied to training, "
            "validation and test images alike, and the size is the data's; leave it out (mean and std are said of "
            "the network)"
        )
    plain = {"mean": (0.0,) * size[0], "std": (1.0,) * size[0], "is_training": True}
    try:
        sets.train.transform = create_transform((size[-2], size[-1]), **{**plain, **training.transform})
    except (TypeError, ValueError, AssertionError) as error:
        raise RecipeError(f"training.transform={training.transform}: {error}") from error


T = TypeVar("T")


def part(recipes: Sequence[Recipe], name: str, default: T) -> T:
    """Find a part of the last recipe that has it.

    Args:
        recipes: the recipes, in order.
        name: the part, such as "training" or "data".
        default: what to return if no recipe has it.
    """
    return next((getattr(r, name) for r in reversed(recipes) if getattr(r, name)), default)
