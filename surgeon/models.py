"""Networks by name, and what they say of themselves: timm's, torchvision's, the zoo's, or of the caller's own code."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from surgeon import naming, own
from surgeon.errors import ModelError, SurgeonError, either, nearest
from surgeon.images import image_size

ORIGIN = "surgeon_origin"
"""Attribute of a created model that remembers how it was made: {"name", "args", "input_size"}."""
TORCHVISION = "torchvision/"
ZOO = "zoo/"


def create_model(
    name: str,
    *,
    pretrained: bool = False,
    num_classes: int | None = None,
    in_chans: int | None = None,
    input_size: tuple[int, ...] | None = None,
    weights: str | None = None,
    model_args: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A network by name: `resnet18` from timm (also `timm/resnet18`, `hf-hub:` and `local-dir:`), `torchvision/resnet18`, one of
    the papers' that they do not have, such as `zoo/lenet5`, or `package.module:factory` from your own code.

    Own code is imported; its factory, a function or a class, is called with model_args, and with num_classes and
    in_chans where it takes them.

    input_size: (C, H, W) that it will be used at; passed on to models that are built for one size.
    weights: a checkpoint file that is read without executing anything in it.

    Raises ModelError for an unknown name (with the nearest ones) or arguments the model does not take.
    """
    args, name = dict(model_args or {}), naming.library_name(name)
    if not own.is_own(name):
        input_size = image_size(input_size)
    made = {**args, **_given(num_classes=num_classes, in_chans=in_chans)}
    if own.is_own(name):
        model, made = own.build(name, args, pretrained=pretrained, num_classes=num_classes, in_chans=in_chans)
    elif name.startswith(TORCHVISION):
        model = _torchvision(name, pretrained, num_classes, in_chans, args)
        made = {**(_implied(model) if pretrained else {}), **made}
    elif name.startswith(ZOO):
        model = _zoo(name, pretrained, num_classes, in_chans, input_size, args)
    else:
        model = _timm(name, pretrained, num_classes, in_chans, input_size, args)
    size = image_size(input_size, model)
    model.__dict__[ORIGIN] = {"name": name, "args": made, "input_size": list(size) if size else None}
    if weights:
        from surgeon.disk.checkpoints import load_weights

        load_weights(model, weights)
    return model


def _timm(
    name: str, pretrained: bool, num_classes: int | None, in_chans: int | None,
    input_size: tuple[int, ...] | None, args: dict[str, Any],
) -> nn.Module:  # fmt: skip
    import timm

    if ":" not in name and not naming.of_timm(name):
        raise ModelError(naming.unknown(name, list_models))
    given = {**_given(num_classes=num_classes, in_chans=in_chans), **args}
    try:
        return timm.create_model(name, pretrained=pretrained, **given)
    except SurgeonError:
        raise
    except Exception as error:  # a library raises anything on arguments that do not fit
        raise ModelError(f"model {name!r} with {given or 'no arguments'}: {_line(error)}") from error


def _zoo(
    name: str, pretrained: bool, num_classes: int | None, in_chans: int | None,
    input_size: tuple[int, ...] | None, args: dict[str, Any],
) -> nn.Module:  # fmt: skip
    from surgeon import zoo

    if pretrained:
        raise ModelError(
            f"{name} has no pretrained weights; give a checkpoint file as {either('weights', '--weights')}"
        )
    return zoo.create(name, num_classes=num_classes, in_chans=in_chans, input_size=input_size, args=args)


def _torchvision(
    name: str, pretrained: bool, num_classes: int | None, in_chans: int | None, args: dict[str, Any]
) -> nn.Module:
    import torchvision.models as zoo

    short = name.removeprefix(TORCHVISION)
    if short not in zoo.list_models():
        raise ModelError(f"unknown model {name!r}; {nearest(name, list_models())}")
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
        raise ModelError(f"model {name!r} with {given}: {_line(error)}") from error
    if in_chans is not None:
        _set_in_channels(model, in_chans, name)
    return model


def _implied(model: nn.Module) -> dict[str, Any]:
    """Arguments that torchvision sets by itself where it loads weights: those that a network without them must be given."""
    told = {k: v for k in ("aux_logits", "transform_input") if isinstance(v := getattr(model, k, None), bool)}
    return told | ({"aux_loss": model.aux_classifier is not None} if hasattr(model, "aux_classifier") else {})


def _parameters(builder: Any) -> set[str]:
    import inspect

    return set(inspect.signature(builder).parameters)


def _set_in_channels(model: nn.Module, in_chans: int, name: str) -> None:
    first_name, first = next((n, m) for n, m in model.named_modules() if isinstance(m, _ConvNd))
    if first.in_channels == in_chans:
        return
    kind: Any = type(first)
    new = kind(
        in_chans, first.out_channels, first.kernel_size, first.stride, first.padding,
        dilation=first.dilation, groups=first.groups, bias=first.bias is not None,
    )  # fmt: skip
    owner, _, leaf = first_name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, new)


@functools.cache
def _all_models() -> tuple[str, ...]:
    import timm
    import torchvision.models

    from surgeon import zoo

    return (*timm.list_models(), *(TORCHVISION + n for n in torchvision.models.list_models()), *zoo.names())


def is_known(name: str) -> bool:
    """Whether timm, torchvision or the zoo have a model of this name."""
    return name in _all_models() or naming.of_timm(naming.library_name(name))


def list_models(pattern: str = "*") -> list[str]:
    """Names of all models that fit a glob: timm's as they are, others as `torchvision/NAME` and `zoo/NAME`."""
    import fnmatch

    return [n for n in _all_models() if fnmatch.fnmatchcase(n, pattern)]


def name_of(model: nn.Module) -> str:
    """The name a model was created by, or timm's architecture, or its class."""
    origin = model.__dict__.get(ORIGIN)
    if origin:
        return str(origin["name"])
    architecture = _config(model).get("architecture")
    stock = model.__dict__.get("_stock_class", type(model))
    return str(architecture or stock.__name__)


def input_size_of(model: nn.Module) -> tuple[int, ...] | None:
    """The (C, H, W), or (C, T, H, W), that a model is made for, as far as it or its library says; else None."""
    origin = model.__dict__.get(ORIGIN) or {}
    if origin.get("input_size"):
        return tuple(origin["input_size"])
    channels = in_channels_of(model)
    size = _config(model).get("input_size")
    if size:
        return (channels or size[0], *size[1:])
    stock = model.__dict__.get("_stock_class", type(model))
    home = stock.__module__
    if not home.startswith("torchvision.models"):
        return None
    if _has_other_outputs(model):
        return None
    if ".video" in home:
        return (channels or 3, 16, 112, 112)
    side = 299 if stock.__name__ == "Inception3" else 224
    return (channels or 3, side, side)


def _has_other_outputs(model: nn.Module) -> bool:
    """Whether a network of torchvision gives boxes or flow, so that its last layer does not count classes."""
    home = model.__dict__.get("_stock_class", type(model)).__module__
    return home.startswith(("torchvision.models.detection", "torchvision.models.optical_flow"))


def in_channels_of(model: nn.Module) -> int | None:
    """The channels that the first convolution takes; None where there is none."""
    first = next((m for m in model.modules() if isinstance(m, _ConvNd)), None)
    return None if first is None else first.in_channels


def input_std_of(model: nn.Module) -> tuple[float, ...] | None:
    """The standard deviation by which a model's images are divided before it, as its configuration says."""
    std = _config(model).get("std")
    channels = in_channels_of(model)
    return tuple(float(s) for s in std) if std and (channels is None or len(std) == channels) else None


def normalization_of(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """(mean, std) per channel that a model's images are normalised by before it, as its configuration says; or None."""
    std, mean = input_std_of(model), _config(model).get("mean")
    if std is None or not mean or len(mean) != len(std):
        return None
    return tuple(float(m) for m in mean), std


def normalized(images: Tensor, model: nn.Module) -> Tensor:
    """Images in [0, 1], (N, C, H, W), as the model takes them: normalised where its configuration says so."""
    given = normalization_of(model)
    if given is None:
        return images
    mean, std = (torch.tensor(v, dtype=torch.float32, device=images.device).view(1, -1, 1, 1) for v in given)
    return (images - mean) / std


def num_classes_of(model: nn.Module) -> int | None:
    """The number of classes: the model's own attribute, the outputs of its last linear layer, or what it was made with.

    None for a model that says that it has none, as timm's without a head do.
    """
    number = getattr(model, "num_classes", None)
    if isinstance(number, int):
        return number if number > 0 else None
    last = [m for m in model.modules() if isinstance(m, nn.Linear)]
    if last and not _has_other_outputs(model):
        return last[-1].out_features
    given = (model.__dict__.get(ORIGIN) or {}).get("args", {}).get("num_classes")
    return int(given) if given else None


def _config(model: nn.Module) -> Mapping[str, Any]:
    found = model.__dict__.get("pretrained_cfg")
    return found if isinstance(found, Mapping) else {}


def _given(**values: Any) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
