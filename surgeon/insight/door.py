"""What every measurement of this room asks of the images and labels that it is given."""

from __future__ import annotations

from torch import Tensor, nn

from surgeon.errors import DataError
from surgeon.images import check_images, check_taken
from surgeon.values import has_values


def seen_by(model: nn.Module, images: Tensor, name: str = "images") -> Tensor:
    """Check pixels, and copy them to where the network's weights are: its code may write into its input.

    Args:
        model: Takes [0, 1] pixels.
        images: (N, C, H, W) floats in [0, 1].
        name: Name of the images in messages.

    Returns:
        The copy, in the data type of the weights.

    Raises:
        DataError: They are no such tensor, are empty, or have other channels than the network takes.
    """
    wide = isinstance(images, Tensor) and images.is_floating_point() and has_values(images)
    check_images(images.float() if wide else images)
    if len(images) == 0:
        raise DataError(f"{name} are of shape {tuple(images.shape)}: give one image or more")
    check_taken(images, model, name)
    like = next((p for p in model.parameters() if p.is_floating_point()), images)
    return images.detach().to(like, copy=True)


def check_labels(labels: Tensor, images: Tensor) -> None:
    """Check that labels are class indices, one an image.

    Args:
        labels: The labels.
        images: The images, (N, ...).

    Raises:
        DataError: They are not (N,) integers with values.
    """
    if not isinstance(labels, Tensor) or not has_values(labels) or labels.is_floating_point():
        what = (
            f"a tensor of {labels.dtype} on {labels.device}"
            if isinstance(labels, Tensor)
            else type(labels).__name__
        )
        raise DataError(f"labels are {what}; give a tensor of class indices, (N,) int64")
    if labels.shape != (len(images),):
        raise DataError(f"{len(images)} images and labels of shape {tuple(labels.shape)}: one label an image")
