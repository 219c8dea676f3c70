"""Networks of timm and of torchvision by name, without weights or with those that the library has."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from surgeon.errors import ModelError, SurgeonError, nearest
from surgeon.models import naming
from surgeon.torch_private import ConvNd

TORCHVISION = "torchvision/"


@functools.cache
def library_models() -> tuple[str, ...]:
    """All names that the two have: timm's as they are, torchvision's as `torchvision/NAME`."""
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
    """timm's network of that name; args: further arguments. valid: the names among which the nearest to an unknown one are looked for.

    Raises ModelError for an unknown name, and for arguments that timm does not take.
    """
    import timm

    if ":" not in name and not naming.of_timm(name):
        raise ModelError(naming.unknown(name, valid))
    given = {
        **{k: v for k, v in (("num_classes", num_classes), ("in_chans", in_chans)) if v is not None},
        **args,
    }
    try:
        return timm.create_model(name, pretrained=pretrained, **given)
    except SurgeonError:
        raise
    except Exception as error:  # a library raises anything on arguments that do not fit
        raise ModelError(f"model {name!r} with {given or 'no arguments'}: {_line(error)}") from error


def from_torchvision(
    name: str,
    args: dict[str, Any],
    *,
    pretrained: bool = False,
    num_classes: int | None = None,
    in_chans: int | None = None,
) -> nn.Module:
    """torchvision's network called `torchvision/NAME`; args: further arguments. Raises ModelError as `from_timm`."""
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
        raise ModelError(f"model {name!r} with {given}: {_line(error)}") from error
    if in_chans is not None:
        _set_in_channels(model, in_chans, name)
    return model


def implied(model: nn.Module) -> dict[str, Any]:
    """Arguments that torchvision sets by itself where it loads weights: those that a network without them must be given."""
    told = {k: v for k in ("aux_logits", "transform_input") if isinstance(v := getattr(model, k, None), bool)}
    return told | ({"aux_loss": model.aux_classifier is not None} if hasattr(model, "aux_classifier") else {})


def _parameters(builder: Any) -> set[str]:
    import inspect

    return set(inspect.signature(builder).parameters)


def _set_in_channels(model: nn.Module, in_chans: int, name: str) -> None:
    first_name, first = next((n, m) for n, m in model.named_modules() if isinstance(m, ConvNd))
    if first.in_channels == in_chans:
        return
    kind: Any = type(first)
    new = kind(
        in_chans, first.out_channels, first.kernel_size, first.stride, first.padding,
        dilation=first.dilation, groups=first.groups, bias=first.bias is not None,
    )  # fmt: skip
    owner, _, leaf = first_name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, new)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
