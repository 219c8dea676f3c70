"""Create networks of timm and torchvision by name, with or without pretrained weights."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from surgeon.errors import ArtifactError, ModelError, SurgeonError, either, nearest
from surgeon.models import naming
from surgeon.models.beside_weights import CONFIG
from surgeon.models.fetching import reason
from surgeon.reading import read_json
from surgeon.torch_private import ConvNd

TORCHVISION = "torchvision/"
HUB = ("hf-hub:", "hf_hub:")
"""How timm's names of repositories of the Hub begin."""


@functools.cache
def library_models() -> tuple[str, ...]:
    """The names of all models of timm, as they are, and of torchvision, as `torchvision/NAME`."""
    import timm
    import torchvision.models

    return (*timm.list_models(), *(TORCHVISION + n for n in torchvision.models.list_models()))


def from_timm(
    name: str,
    args: dict[str, Any],
    *,
    pretrained: bool = False,
    num_classes: int | None = None,
    in_chans: int | None = None,
    valid: Callable[[], Iterable[str]] = library_models,
) -> nn.Module:
    """Create a timm network.

    Args:
        name: timm's name, also `hf-hub:…` or `local-dir:…`.
        args: further arguments of `timm.create_model`.
        pretrained: load pretrained weights.
        num_classes: number of outputs; by default the model's.
        in_chans: channels of the images; by default the model's.
        valid: gives the names among which to look for the nearest to an unknown one.

    Raises:
        ModelError: the name is unknown, timm does not accept the arguments, what the name stands for cannot be
            fetched, or it is of a folder that surgeon wrote.
    """
    import timm

    if ":" not in name and not naming.of_timm(name):
        raise ModelError(naming.unknown(name, valid))
    _refuse_own_folder(name)
    given = {
        **{k: v for k, v in (("num_classes", num_classes), ("in_chans", in_chans)) if v is not None},
        **args,
    }
    try:
        return timm.create_model(name, pretrained=pretrained, **given)
    except SurgeonError:
        raise
    except Exception as error:  # a library raises anything on arguments that do not fit
        _demand_fetched(name, error, pretrained)
        raise ModelError(f"model {name!r} with {given or 'no arguments'}: {_line(error)}") from error


def _refuse_own_folder(name: str) -> None:
    """Raise ModelError for timm's name of a folder that surgeon wrote, of which timm reads a part."""
    scheme, _, folder = name.partition(":")
    config = Path(folder) / CONFIG
    if scheme not in ("local-dir", "local_dir") or not config.is_file():
        return
    try:
        content = read_json(config)
    except ArtifactError:
        return  # timm says why it cannot read it
    if isinstance(content, Mapping) and "format" in content and ("hashes" in content or "surgery" in content):
        raise ModelError(
            f"{name} is a folder that surgeon wrote, of which timm reads no surgery and no changes: give the folder "
            f"itself, {folder}{either(' (surgeon.load)', '')}"
        )


def from_torchvision(
    name: str,
    args: dict[str, Any],
    *,
    pretrained: bool = False,
    num_classes: int | None = None,
    in_chans: int | None = None,
) -> nn.Module:
    """Create a torchvision network.

    Args:
        name: `torchvision/NAME`.
        args: further arguments of torchvision's builder.
        pretrained: load the default pretrained weights.
        num_classes: number of outputs; by default the model's.
        in_chans: channels of the images; another number replaces the first convolution, with random weights.

    Raises:
        ModelError: the name is unknown, torchvision does not accept the arguments, or the weights cannot be fetched.
    """
    import torchvision.models as zoo

    short = name.removeprefix(TORCHVISION)
    if short not in zoo.list_models():
        raise ModelError(f"unknown model {name!r}; {nearest(name, library_models())}")
    given: dict[str, Any] = {"weights": "DEFAULT" if pretrained else None, **args}
    if num_classes is not None:
        given["num_classes"] = num_classes
    builder = zoo.get_model_builder(short)
    known = _parameters(builder)
    if "weights_backbone" in known and not pretrained:
        given.setdefault("weights_backbone", None)
    if short in ("googlenet", "inception_v3") and not pretrained:
        given.setdefault("init_weights", True)
    try:
        model = builder(**given)
    except SurgeonError:
        raise
    except Exception as error:  # a library raises anything on arguments that do not fit
        _demand_fetched(name, error, pretrained)
        raise ModelError(f"model {name!r} with {given}: {_line(error)}") from error
    _describe(model, zoo.get_model_weights(short), given["weights"])
    if in_chans is not None:
        _set_in_channels(model, in_chans, name)
    return model


def _demand_fetched(name: str, error: Exception, pretrained: bool) -> None:
    """Raise ModelError for a network or for weights that could not be fetched; nothing for errors of another kind."""
    of_the_hub = name.startswith(HUB)
    if not (of_the_hub or pretrained):
        return
    file = either("weights=FILE", "--weights FILE")
    without = (
        "a folder needs no network: local-dir:FOLDER, with the repository's config.json and weights"
        if of_the_hub
        else f"a file needs no network: {file}, in the place of {either('pretrained=True', '--pretrained')}"
    )
    form = f"{HUB[0]}owner/name, or {HUB[0]}owner/name@revision"
    why = reason(error, revision=name.partition("@")[2] or None, without=without, form=form)
    if why:
        what = name if of_the_hub else f"the pretrained weights of {name}"
        raise ModelError(f"{what} cannot be read: {why}") from error


def _describe(model: nn.Module, known: Any, taken: Any) -> None:
    """Write down how the images of torchvision's weights were normalised, which its networks do not say themselves."""
    if taken is None:
        return
    transforms = known.verify(taken).transforms()
    mean, std = (getattr(transforms, key, None) for key in ("mean", "std"))
    if mean and std:  # detectors normalise inside
        model.__dict__["pretrained_cfg"] = {"mean": tuple(mean), "std": tuple(std)}


def implied(model: nn.Module) -> dict[str, Any]:
    """The arguments that torchvision sets itself when it loads pretrained weights.

    The same network without weights must be given them.

    Args:
        model: a torchvision network.
    """
    heads = {
        k: v for k in ("aux_logits", "transform_input") if isinstance(v := getattr(model, k, None), bool)
    }
    return heads | (
        {"aux_loss": model.aux_classifier is not None} if hasattr(model, "aux_classifier") else {}
    )


def _parameters(builder: Callable[..., object]) -> set[str]:
    import inspect

    return set(inspect.signature(builder).parameters)


def _set_in_channels(model: nn.Module, in_chans: int, name: str) -> None:
    first_name, first = next((n, m) for n, m in model.named_modules() if isinstance(m, ConvNd))
    if first.in_channels == in_chans:
        return
    kind: Any = type(first)
    new = kind(
        in_chans,
        first.out_channels,
        first.kernel_size,
        first.stride,
        first.padding,
        dilation=first.dilation,
        groups=first.groups,
        bias=first.bias is not None,
    )
    owner, _, leaf = first_name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, new)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
