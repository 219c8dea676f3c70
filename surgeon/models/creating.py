"""Networks by name: timm's, torchvision's, the zoo's, or of the caller's own code."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from torch import nn

from surgeon import zoo
from surgeon.errors import ModelError, either
from surgeon.images import image_size
from surgeon.models import naming, own
from surgeon.models.channels import for_channels
from surgeon.models.checkpoints import load_weights
from surgeon.models.facts import ORIGIN
from surgeon.models.libraries import TORCHVISION, from_timm, from_torchvision, implied, library_models

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

    input_size: (C, H, W) that it will be used at; passed on to models that are built for one size, and where in_chans does not say
    otherwise a library's network is made for its channels.
    weights: a checkpoint file that is read without executing anything in it.

    Raises ModelError for an unknown name (with the nearest ones) or arguments the model does not take.
    """
    args, name = dict(model_args or {}), naming.library_name(name)
    if not own.is_own(name):
        input_size = image_size(input_size)
    asked = {k: v for k, v in (("num_classes", num_classes), ("in_chans", in_chans)) if v is not None}
    made = {**args, **asked}
    if own.is_own(name):
        model, made = own.build(name, args, pretrained=pretrained, num_classes=num_classes, in_chans=in_chans)
    elif name.startswith(ZOO):
        model = _zoo(name, pretrained, num_classes, in_chans, input_size, args)
    else:
        channels = None if in_chans or "in_chans" in args or not input_size else input_size[0]
        model, built = for_channels(
            functools.partial(_of_library, name, args, pretrained=pretrained, num_classes=num_classes),
            in_chans,
            channels,
        )
        made |= {"in_chans": built} if built else {}
        if name.startswith(TORCHVISION):
            made = {**(implied(model) if pretrained else {}), **made}
    size = image_size(input_size, model)
    model.__dict__[ORIGIN] = {"name": name, "args": made, "input_size": list(size) if size else None}
    if weights:
        load_weights(model, weights)
    return model


def _of_library(
    name: str, args: dict[str, Any], *, pretrained: bool, num_classes: int | None, in_chans: int | None
) -> nn.Module:
    if name.startswith(TORCHVISION):
        return from_torchvision(name, args, pretrained=pretrained, num_classes=num_classes, in_chans=in_chans)
    return from_timm(
        name, args, pretrained=pretrained, num_classes=num_classes, in_chans=in_chans, valid=_all_models
    )


def _zoo(
    name: str, pretrained: bool, num_classes: int | None, in_chans: int | None,
    input_size: tuple[int, ...] | None, args: dict[str, Any],
) -> nn.Module:  # fmt: skip
    if pretrained:
        raise ModelError(
            f"{name} has no pretrained weights; give a checkpoint file as {either('weights', '--weights')}"
        )
    return zoo.create(name, num_classes=num_classes, in_chans=in_chans, input_size=input_size, args=args)


@functools.cache
def _all_models() -> tuple[str, ...]:
    return (*library_models(), *zoo.names())


def is_known(name: str) -> bool:
    """Whether timm, torchvision or the zoo have a model of this name."""
    return name in _all_models() or naming.of_timm(naming.library_name(name))


def list_models(pattern: str = "*") -> list[str]:
    """Names of all models that fit a glob: timm's as they are, others as `torchvision/NAME` and `zoo/NAME`."""
    import fnmatch

    return [n for n in _all_models() if fnmatch.fnmatchcase(n, pattern)]
