"""Create networks by name: from timm, torchvision, the zoo, or the caller's own code."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from surgeon import zoo
from surgeon.disk.files import path_given
from surgeon.errors import ArtifactWarning, ModelError, either
from surgeon.images import image_size, may_take
from surgeon.models import naming, own, robustbench
from surgeon.models.beside_weights import (
    config_beside,
    guessed_beside,
    input_size_beside,
    lost_beside,
    normalisation_beside,
    resizing_beside,
)
from surgeon.models.channels import for_channels
from surgeon.models.checkpoints import load_file
from surgeon.models.facts import ASSUMED, ORIGIN
from surgeon.models.libraries import TORCHVISION, from_timm, from_torchvision, implied, library_models
from surgeon.models.normalisation import as_said, set_normalization
from surgeon.models.preparation import resize_as, without_weights
from surgeon.warned import warn

ZOO = "zoo/"


def create_model(
    name: str,
    *,
    pretrained: bool = False,
    num_classes: int | None = None,
    in_chans: int | None = None,
    input_size: tuple[int, ...] | None = None,
    weights: str | None = None,
    weights_entry: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> nn.Module:
    """Create a network by name.

    Args:
        name: `resnet18` from timm (also `timm/resnet18`, `hf-hub:…` and `local-dir:…`),
            `torchvision/resnet18`, `zoo/lenet5` for a network of the papers that the libraries lack,
            `robustbench:DATASET/THREAT/NAME` from RobustBench's model zoo with its weights, or
            `package.module:factory` from your own code. Own code is imported; its factory, a function or a
            class, is called with model_args, and with num_classes and in_chans where its signature accepts
            them.
        pretrained: load the library's pretrained weights.
        num_classes: number of outputs; by default the library's.
        in_chans: channels of the images; by default those of input_size, else the library's.
        input_size: (C, H, W) of the images. Passed on to networks that are built for one size. By default as a
            config.json beside the file of weights says, else as the library configures the network.
        weights: a checkpoint file to load. Nothing in it is executed.
        weights_entry: which set of weights of the file, where it holds several, such as `model_ema`; by default the
            one under the likeliest entry.
        model_args: further arguments of the library's builder or of the factory.
        mean: what images were normalised by when the weights were trained, one number per channel, in units of
            [0, 1] pixels; by default as a config.json beside the file of weights says, else as the library configures
            the network. Given together with std.
        std: one number per channel.

    Returns:
        The network. It remembers its name and arguments, so that `surgeon.save` can record them.

    Raises:
        ModelError: the name is unknown (the message lists the nearest ones), the model does not accept an
            argument, an argument and model_args contradict each other, pretrained weights were trained on images
            that were normalised otherwise, or a repository or weights cannot be fetched.
        DataError: mean and std are no normalisation.
        MissingPackageError: a network of RobustBench is named, and its package is not installed.
        ArtifactError: the file of weights cannot be read, does not fit, or has no such entry.

    Warns:
        ArtifactWarning: the folder of the file says that its network has layers or arguments which this one has not.

    Examples:
        >>> import surgeon
        >>> network = surgeon.create_model("zoo/lenet5", num_classes=7, input_size=(1, 32, 32))
        >>> surgeon.models.num_classes_of(network), surgeon.models.input_size_of(network)
        (7, (1, 32, 32))
    """
    if weights is not None:
        path_given(weights)
    check_entry(weights, weights_entry)
    args, name = dict(model_args or {}), naming.library_name(name)
    if robustbench.is_robustbench(name):
        if mean is not None or std is not None:
            said = either("mean and std", "--mean and --std")
            raise ModelError(f"{name} takes pixels in [0, 1] and normalises them itself: leave {said} out")
        return _of_robustbench(name, args, weights, num_classes, in_chans, input_size)
    if not own.is_own(name):
        input_size = image_size(input_size) or input_size_beside(weights)
    asked = {k: v for k, v in (("num_classes", num_classes), ("in_chans", in_chans)) if v is not None}
    _check_said_once(name, args, asked, input_size)
    made = {**args, **asked}
    if not own.is_own(name):
        args = {k: v for k, v in args.items() if k not in asked}
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
        elif weights or not pretrained:
            without_weights(model)
    size = image_size(input_size, model)
    model.__dict__[ORIGIN] = {"name": name, "args": made, "input_size": list(size) if size else None}
    if weights:
        load_file(model, weights, entry=weights_entry)
        resize_as(model, resizing_beside(weights))
    record = f"the configuration of {name}'s pretrained weights" if pretrained and not weights else ""
    beside = normalisation_beside(weights)
    if beside is not None and may_take(model, len(beside[0])):
        set_normalization(model, *beside)
        record = str(config_beside(weights))
    if weights:
        model.__dict__[ORIGIN][ASSUMED] = guessed_beside(weights)
    if said := lost_beside(weights, model):
        warn(said, ArtifactWarning)
    return as_said(model, mean, std, record=record)


def check_entry(weights: object, entry: str | None) -> None:
    """Check that an entry is asked for of a file.

    Args:
        weights: the file, or None.
        entry: the entry, or None.

    Raises:
        ModelError: there is no file.
    """
    if entry is not None and not weights:
        said = either(f"weights_entry={entry!r}", f"--weights-entry {entry}")
        raise ModelError(f"{said} is of a file of weights: give that as {either('weights', '--weights')}")


def bare_of_robustbench(name: str) -> nn.Module:
    """Create a network of RobustBench's model zoo without its weights, for a folder that has them.

    Args:
        name: `robustbench:DATASET/THREAT/NAME`.

    Raises:
        ModelError: the name is unknown.
        MissingPackageError: RobustBench's package is not installed.
        ArtifactError: the package makes it with weights alone, which it would download.
    """
    model, entry = robustbench.build(name, {}, weights=False)
    return _remembering(model, entry)


def _of_robustbench(
    name: str,
    args: Mapping[str, Any],
    weights: str | None,
    num_classes: int | None,
    in_chans: int | None,
    input_size: tuple[int, ...] | None,
) -> nn.Module:
    """A network of RobustBench with its weights, which has the sizes that it has."""
    if weights:
        raise ModelError(
            f"{name} has weights of its own; "
            + either('model_args={"model_dir": …}', "--model-arg model_dir=FOLDER")
            + " says where, and a file of others needs the network's own code (package.module:factory)"
        )
    model, entry = robustbench.build(name, args)
    model = _remembering(model, entry)
    size, classes = robustbench.SIZES[entry.dataset], robustbench.CLASSES[entry.dataset]
    wanted = image_size(input_size)
    asked = {"num_classes": (num_classes, classes), "in_chans": (in_chans, size[0])}
    for key, (value, its) in asked.items():
        if value not in (None, its):
            raise ModelError(f"{entry.full} has {key}={its}, and {value} is asked for; leave it out")
    if wanted is not None:
        if wanted[0] != size[0]:
            raise ModelError(f"{entry.full} takes images of {size[0]} channels, not {wanted[0]}")
        model.__dict__[ORIGIN]["input_size"] = list(wanted)
    return model


def _remembering(model: nn.Module, entry: robustbench.Entry) -> nn.Module:
    """The same network, which knows its name; where its weights were is not said, since a folder has them."""
    size = robustbench.SIZES[entry.dataset]
    model.__dict__[ORIGIN] = {"name": entry.full, "args": {}, "input_size": list(size)}
    return model


def _check_said_once(
    name: str, args: Mapping[str, Any], asked: Mapping[str, Any], size: tuple[int, ...] | None
) -> None:
    """Check that what can be said in two ways is not said to be two things."""
    for key, value in asked.items():
        if key in args and args[key] != value:
            option = f"--{key.replace('_', '-')} {value}"
            both = either(
                f"{key}={value} and model_args={{{key!r}: {args[key]!r}}}",
                f"{option} and --model-arg {key}={args[key]}",
            )
            raise ModelError(f"{name}: {both} contradict each other; leave one out")
    channels = asked.get("in_chans")
    if channels is not None and size is not None and not own.is_own(name) and channels != size[0]:
        raise ModelError(f"{name}: in_chans={channels} contradicts the input size {tuple(size)}")


def _of_library(
    name: str, args: dict[str, Any], *, pretrained: bool, num_classes: int | None, in_chans: int | None
) -> nn.Module:
    if name.startswith(TORCHVISION):
        in_chans = in_chans or args.get("in_chans")  # no builder of torchvision's takes it
        args = {k: v for k, v in args.items() if k != "in_chans"}
        return from_torchvision(name, args, pretrained=pretrained, num_classes=num_classes, in_chans=in_chans)
    return from_timm(
        name, args, pretrained=pretrained, num_classes=num_classes, in_chans=in_chans, valid=_all_models
    )


def _zoo(
    name: str,
    pretrained: bool,
    num_classes: int | None,
    in_chans: int | None,
    input_size: tuple[int, ...] | None,
    args: dict[str, Any],
) -> nn.Module:
    if pretrained:
        raise ModelError(
            f"{name} has no pretrained weights; give a checkpoint file as {either('weights', '--weights')}"
        )
    return zoo.create(name, num_classes=num_classes, in_chans=in_chans, input_size=input_size, args=args)


@functools.cache
def _all_models() -> tuple[str, ...]:
    return (*library_models(), *zoo.names())


def is_known(name: str) -> bool:
    """Whether timm, torchvision or the zoo has a model of this name.

    Args:
        name: a name as `create_model` takes it, without own code and repositories.

    Returns:
        True where `create_model` would find it.

    Examples:
        >>> from surgeon.models import is_known
        >>> is_known("zoo/lenet5"), is_known("resnet18"), is_known("resnet1800")
        (True, True, False)
    """
    return name in _all_models() or naming.of_timm(naming.library_name(name))


def list_models(pattern: str = "*") -> list[str]:
    """List the names of all models that match a glob pattern.

    Args:
        pattern: shell-style, case-sensitive; by default all. RobustBench's are listed where it names them,
            such as `robustbench:cifar10/*`.

    Returns:
        timm's names as they are, others as `torchvision/NAME`, `zoo/NAME` and `robustbench:…`.

    Raises:
        MissingPackageError: RobustBench's are asked for, and its package is not installed.

    Examples:
        >>> from surgeon.models import list_models
        >>> list_models("zoo/resnet*")
        ['zoo/resnet18', 'zoo/resnet18_wide4', 'zoo/resnet34']
    """
    import fnmatch

    every = robustbench.names() if robustbench.is_robustbench(pattern) else _all_models()
    return [n for n in every if fnmatch.fnmatchcase(n, pattern)]
