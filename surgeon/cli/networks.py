"""The network that MODEL names, its device and its calibration images."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgeon.errors import ArgumentError, ArtifactError, ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn


def load_model(
    name: str,
    *,
    weights: str | None,
    weights_entry: str | None,
    pretrained: bool,
    num_classes: int | None,
    in_chans: int | None,
    input_size: tuple[int, ...] | None,
    model_args: tuple[tuple[str, Any], ...],
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    allow_code: tuple[str, ...] = (),
    seed: int = 0,
) -> nn.Module:
    """The model that MODEL names: a name of timm, torchvision, the zoo or RobustBench's model zoo
    (`robustbench:DATASET/THREAT/NAME`), own code (`package.module:factory`), or a network that surgeon wrote: its
    folder, or its repository (`hf-hub:owner/name`).

    mean, std: how its images are normalised, one number per channel.
    seed: of the initial weights, where no weights are loaded.

    Raises ModelError for an unknown name, for options that a folder leaves nothing to do, and for another normalisation
    than a folder's record says;
    ArtifactError for a folder that is not one of surgeon's.
    """
    import torch

    import surgeon
    from surgeon.models.normalisation import as_said
    from surgeon.pipeline.ended import check_ended
    from surgeon.pipeline.prepared import warn_of_pixels
    from surgeon.store.hub import folder_of

    torch.manual_seed(seed)
    code_lies_here(name, allow_code)
    _quiet_downloads(name)
    if _is_folder(name) or folder_of(name):
        given = {
            "--weights": weights,
            "--weights-entry": weights_entry,
            "--pretrained": pretrained,
            "--num-classes": num_classes,
            "--in-chans": in_chans,
            "--model-arg": model_args,
        }
        useless = [option for option, value in given.items() if value]
        if useless:
            raise ModelError(
                f"{name} is a folder, which fixes its network: {', '.join(useless)} cannot change it"
            )
        check_ended(Path(name))
        network = as_said(surgeon.load(name, allow_code=allow_code), mean, std, record=name)
    else:
        network = surgeon.create_model(
            name,
            pretrained=pretrained,
            num_classes=num_classes,
            in_chans=in_chans,
            input_size=input_size,
            weights=weights,
            weights_entry=weights_entry,
            model_args=dict(model_args),
            mean=mean,
            std=std,
        )
    if mean is not None:
        warn_of_pixels(network, name, weights)
    return network


def trained(name: str, given: Mapping[str, Any]) -> bool | None:
    """Whether MODEL's weights are said to be trained; None where nothing says so.

    given: the options of `options.model_options`.
    """
    from surgeon.models.robustbench import is_robustbench

    return True if given["weights"] or given["pretrained"] or is_robustbench(name) else None


def load_folder(name: str, allow_code: tuple[str, ...] = ()) -> nn.Module:
    """The network in a folder that surgeon wrote, or in its repository (`hf-hub:owner/name`).

    Raises ArtifactError for a folder that is not one of surgeon's, and for a run in whose place another network lies.
    """
    import surgeon
    from surgeon.pipeline.ended import check_ended

    code_lies_here(name, allow_code)
    _quiet_downloads(name)
    check_ended(Path(name))
    return surgeon.load(name, allow_code=allow_code)


def code_lies_here(name: str, allow_code: tuple[str, ...] = ()) -> None:
    """Let own code be imported from the present folder, as `python -m` does, where the command names some."""
    from surgeon.models.own import is_own

    if (allow_code or is_own(name)) and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def _is_folder(name: str) -> bool:
    """Whether MODEL means a folder: one that surgeon wrote, or a path that is not a name of a model.

    Raises ArtifactError for a path at which nothing is.
    """
    from surgeon.disk.folder_kinds import instead
    from surgeon.store.folder import CONFIG, no_network

    path = Path(name)
    if path.is_dir():
        return (path / CONFIG).is_file() or os.sep in name or bool(instead(path))
    if os.sep in name and (name.startswith((".", "~", os.sep)) or name.count(os.sep) > 1) and ":" not in name:
        raise ArtifactError(no_network(name))
    return False


def _quiet_downloads(name: str) -> None:
    """Leave it to the error at the end to say that a download failed, not to a line for each attempt."""
    from surgeon.models.own import is_own

    if not is_own(name) and not Path(name).is_dir():
        from huggingface_hub.utils import logging

        logging.set_verbosity_error()


def calibration_images(
    source: str | None, count: int, model: nn.Module, input_size: tuple[int, ...] | None
) -> Tensor | None:
    """Calibration images as the model takes them: normalised if its configuration says so."""
    if source is None:
        return None

    from surgeon.data import images
    from surgeon.models.facts import input_size_of
    from surgeon.models.pixels import normalized

    size = input_size or input_size_of(model)
    if size is None:
        raise ArgumentError("--calibration needs --input-size: the model does not tell its own")
    return normalized(images(source, count, size), model)
