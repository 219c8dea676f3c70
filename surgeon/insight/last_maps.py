"""Find the layer that gives the last maps over space, which Grad-CAM uses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from surgeon.errors import PictureError
from surgeon.graph.trees.leaves import is_activation, is_norm
from surgeon.insight.listening import network_of, outputs
from surgeon.tensors.instead import convolves

EARLY = 0.2
"""If the last maps come before this share of the layers, they say little about the decision."""


def last_spatial(model: nn.Module, images: Tensor) -> str:
    """Find the module that gives the last maps over space.

    It is the last convolution or weight map, or the norm or activation behind it whose output has the same
    shape.

    Args:
        model: Takes [0, 1] pixels.
        images: (N, C, H, W) in [0, 1]; one suffices.

    Returns:
        Name of the module.

    Raises:
        PictureError: There is no such layer, or it comes so early, as in a vision transformer, that its maps say
            little about the decision.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.insight.last_maps import last_spatial
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        >>> last_spatial(model, torch.rand(1, 3, 8, 8))
        '1'
    """
    network = network_of(model)
    last, index, shape, count = "", 0, torch.Size(), 0
    for site, output in outputs(model, images, activations=True).items():
        module = network.get_submodule(site)
        count += not is_activation(module)
        value = output.value
        spatial = value.dim() == 4 and value.shape[2:].numel() > 1
        if spatial and convolves(module):
            last, index, shape = output.module, count, value.shape
        elif last and value.shape == shape and (is_norm(module) or is_activation(module)):
            last = output.module
    if not last:
        raise PictureError("no layer gives maps over space, which Grad-CAM needs")
    if index < EARLY * count:
        raise PictureError(
            f"its last maps over space, of {last}, are those of layer {index} of {count}: Grad-CAM would "
            f"say little of the decision; pass layer={last!r} to have it"
        )
    return last
