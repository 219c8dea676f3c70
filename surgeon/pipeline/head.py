"""The outputs and channels of a network that is made for images: the images decide both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from surgeon.data.names import shown
from surgeon.errors import DataError, ModelError, either
from surgeon.models import num_classes_of


def outputs_for(
    model: str,
    classes: Sequence[str],
    size: Sequence[int],
    num_classes: int | None,
    model_args: Mapping[str, Any] | None,
) -> int:
    """The number of outputs of a network for images; nothing is made.

    Args:
        model: the network's name, for messages.
        classes: the classes of the images; empty where they are a stream, which does not tell them.
        size: (C, H, W) of the images.
        num_classes: the number that was asked for; None for that of the classes.
        model_args: arguments of the network's builder.

    Returns:
        The number of outputs, at least that of the classes.

    Raises:
        DataError: the images are all of one class, are a stream and no number is asked for, or fewer outputs than
            classes were asked for.
        ModelError: an argument contradicts the number of outputs or the channels.
    """
    if not classes and num_classes is None:
        raise DataError(
            "the images are a stream, which does not tell how many classes there are: say so by "
            + either("num_classes=N", "--num-classes N")
        )
    if len(classes) == 1:
        raise DataError(
            f"the images are all of one class ({', '.join(map(shown, classes))}), so that one answer is always right: "
            "give a folder with a folder for each of two or more classes"
        )
    outputs = num_classes or len(classes)
    if outputs < len(classes):
        said = either(f"num_classes={outputs}", f"--num-classes {outputs}")
        raise DataError(f"{said}, and the data have {len(classes)} classes")
    source = "is asked for" if num_classes else "the data have"
    for key, wanted, where in (("num_classes", outputs, source), ("in_chans", size[0], "the images have")):
        given = (model_args or {}).get(key, wanted)
        if given != wanted:
            said = either(f"model_args={{{key!r}: {given!r}}}", f"--model-arg {key}={given}")
            raise ModelError(f"{model}: {said} contradicts the {wanted} that {where}; leave it out")
    return outputs


def check_outputs(model: str, network: nn.Module, classes: Sequence[str]) -> None:
    """Check that a network has an output for every class.

    Args:
        model: the network's name, for messages.
        network: the network.
        classes: the classes of the images.

    Raises:
        DataError: it has fewer.
    """
    outputs = num_classes_of(network)
    if outputs is not None and outputs < len(classes):
        raise DataError(
            f"{model} makes a network of {outputs} outputs, and the data have {len(classes)} classes; let it take "
            "num_classes, or name fewer classes as data.classes"
        )
