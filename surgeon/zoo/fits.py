"""The papers' networks that timm or torchvision has, fitted to the images that the papers use.

| name           | library model                 | what is changed                                       |
|----------------|-------------------------------|-------------------------------------------------------|
| vgg11, vgg16   | torchvision's VGG, batch norm | pooled to 1×1, one fully connected layer instead of 3 |
| resnet18, 34   | timm's                        | 3×3 stem of stride 1, no first pooling                |
| resnet18_wide4 | timm's                        | 4× the kernels in every layer; stem and pooling stay  |
| mobilenet_v1   | timm's mobilenetv1_100        | stem of stride 1: 2×2 maps at the end of 32×32 images |
| mobilenet_v2   | timm's mobilenetv2_100        | stem and second stage of stride 1: 4×4 maps at the end|
| alexnet        | torchvision's                 | nothing, 224×224                                      |

Sources: "Adversarial Noise Layer" (arXiv 1805.08000), Table 3 (CIFAR-10 and 100) and its ImageNet experiment;
"Kernel Average Pooling" (arXiv 2210.00062), section 4.3, for resnet18 and RN18WideX4 (ImageNet). The
small-image changes are those of the common CIFAR versions; no paper states them. Parameters: VGG-16 has the
14.7 million and ResNet-18 the 11.2 million of the ANL paper. MobileNet-V2 has 2.24 million where the paper
states 2.3: the well-known CIFAR version with a projection on shortcuts that change the channels has 2.30;
timm's (as Sandler et al. describe it) has no such shortcuts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def small_vgg(layers: str, num_classes: int = 10, in_chans: int = 3, *, drop_rate: float = 0.0) -> nn.Module:
    """Build torchvision's VGG for 32×32 images, with one fully connected layer.

    The stock head, with 120 million parameters, is only built on the meta device before it is replaced.

    Args:
        layers: Configuration "A" (11 layers) or "D" (16).
        num_classes: Number of classes.
        in_chans: Channels of the images.
        drop_rate: Share of the pooled features that is left out in training, before the fully connected layer.

    Returns:
        The network.
    """
    from torchvision.models.vgg import VGG, cfgs, make_layers

    features = _for_channels(make_layers(cfgs[layers], batch_norm=True), in_chans)
    with torch.device("meta"):
        model = VGG(features, num_classes, init_weights=True)
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    if drop_rate:  # behind the pooling: the names of the weights stay
        model.avgpool = nn.Sequential(model.avgpool, nn.Dropout(drop_rate))
    model.classifier = nn.Linear(512, num_classes)
    nn.init.normal_(model.classifier.weight, 0, 0.01)
    nn.init.zeros_(model.classifier.bias)
    return model


def resnet(
    name: str, num_classes: int = 10, in_chans: int = 3, *, small: bool = True, width: float = 1, **args: Any
) -> nn.Module:
    """Build timm's ResNet of basic blocks with other widths and stem.

    timm scales its stages by an argument, but its stem always has 64 kernels, so stem and first block are
    replaced.

    Args:
        name: timm's name.
        num_classes: Number of classes.
        in_chans: Channels of the images.
        small: Use the stem for small images: 3×3, stride 1, no pooling.
        width: Factor of the number of kernels.
        **args: Further arguments of timm's network.

    Returns:
        The network.
    """
    channels = [max(1, round(width * n)) for n in (64, 128, 256, 512)]
    first = channels[0]
    model: Any = _timm(name, num_classes=num_classes, in_chans=in_chans, channels=tuple(channels), **args)
    if small or first != 64:
        side, stride = (3, 1) if small else (7, 2)
        model.conv1 = _fresh(nn.Conv2d(in_chans, first, side, stride, side // 2, bias=False))
    if first != 64:
        model.bn1 = nn.BatchNorm2d(first)
        block = model.layer1[0]
        block.conv1 = _fresh(nn.Conv2d(first, first, 3, 1, 1, bias=False))
        block.downsample = None
    model.feature_info[0]["num_chs"] = first
    if small:
        model.maxpool = nn.Identity()
        _tell_features(model, ("conv1", "maxpool"))
    return model


def with_strides_of_one(
    name: str, convolutions: tuple[str, ...], num_classes: int = 10, in_chans: int = 3, **args: Any
) -> nn.Module:
    """Build a timm network in which some convolutions have stride 1.

    Args:
        name: timm's name.
        convolutions: Dotted names of the convolutions.
        num_classes: Number of classes.
        in_chans: Channels of the images.
        **args: Further arguments of timm's network.

    Returns:
        The network.
    """
    model = _timm(name, num_classes=num_classes, in_chans=in_chans, **args)
    for place in convolutions:
        conv: Any = model.get_submodule(place)
        conv.stride = (1, 1)
    _tell_features(model, convolutions)
    return model


def alexnet(num_classes: int = 1000, in_chans: int = 3, **args: Any) -> nn.Module:
    """Build torchvision's AlexNet as it is.

    Args:
        num_classes: Number of classes.
        in_chans: Channels of the images.
        **args: Further arguments of the network.

    Returns:
        The network.
    """
    import torchvision.models

    model = torchvision.models.alexnet(**{"weights": None, **args, "num_classes": num_classes})
    model.features = _for_channels(model.features, in_chans)
    return model


def _timm(name: str, **args: Any) -> nn.Module:
    """Build a timm network."""
    import timm

    return timm.create_model(name, pretrained=False, **args)


def _for_channels(features: nn.Sequential, in_chans: int) -> nn.Sequential:
    """Give convolutions that begin with images another number of channels, in place."""
    first: Any = features[0]
    if first.in_channels != in_chans:
        features[0] = nn.Conv2d(in_chans, first.out_channels, first.kernel_size, first.stride, first.padding)
    return features


def _tell_features(model: Any, places: tuple[str, ...]) -> None:
    """Halve the reduction in timm's feature_info behind each place that no longer halves the image."""
    order = [name for name, _ in model.named_modules()]
    for info in model.feature_info:
        inside = info["module"] + "."
        end = max(i for i, name in enumerate(order) if (name + ".").startswith(inside))
        info["reduction"] //= 2 ** sum(order.index(place) <= end for place in places)


def _fresh(conv: nn.Conv2d) -> nn.Conv2d:
    """Initialise a convolution as timm's ResNets do."""
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


FITS: dict[str, tuple[Callable[..., nn.Module], tuple[Any, ...], dict[str, Any], int]] = {
    "vgg11": (small_vgg, ("A",), {}, 32),
    "vgg16": (small_vgg, ("D",), {}, 32),
    "resnet18": (resnet, ("resnet18",), {}, 32),
    "resnet34": (resnet, ("resnet34",), {}, 32),
    "resnet18_wide4": (resnet, ("resnet18",), {"small": False, "width": 4, "num_classes": 1000}, 224),
    "mobilenet_v1": (with_strides_of_one, ("mobilenetv1_100", ("conv_stem",)), {}, 32),
    "mobilenet_v2": (with_strides_of_one, ("mobilenetv2_100", ("conv_stem", "blocks.1.0.conv_dw")), {}, 32),
    "alexnet": (alexnet, (), {}, 224),
}
"""Name → function, its positional and keyword arguments, and the side of its images."""
