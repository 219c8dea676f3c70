"""The densely connected network of "Weight Map Layer for Noise and Adversarial Attack Robustness", Table 3.

A convolution of 16 channels, then 2, 4, 8 and 16 dense layers of 8 new channels each, with a 2×2 maximum
pooling between these groups; global average pooling of 16 + 8·30 = 256 channels, one fully connected layer.
Each dense layer is followed by a ReLU. The table states no kernel size, no norm and no parameter counts: the
convolutions are 3×3 here, without norms (`batch_norm=True` puts one between each convolution and its ReLU).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from surgeon.errors import ModelError


class Dense(nn.Module):
    """A convolution and a ReLU, whose channels are concatenated to the input's."""

    def __init__(self, inputs: int, growth: int, batch_norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, growth, 3, padding=1, bias=not batch_norm)
        self.bn = nn.BatchNorm2d(growth) if batch_norm else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: (N, C, H, W).

        Returns:
            (N, C', H', W').
        """
        y = self.conv(x)
        y = self.relu(y if self.bn is None else self.bn(y))
        return torch.cat([x, y], 1)


class WeightMapDenseNet(nn.Module):
    """31 convolutions, for any image of at least 8×8 (three poolings).

    Args:
        num_classes: Number of classes.
        in_chans: Channels of the images.
        layers: Number of dense layers in each group.
        growth: Channels that each dense layer adds.
        width: Channels of the first convolution.
        batch_norm: Put a batch norm between each convolution and its ReLU.

    Raises:
        ModelError: A number is below 1.

    Examples:
        >>> import torch
        >>> from surgeon.zoo import WeightMapDenseNet
        >>> WeightMapDenseNet(layers=(1, 1, 1, 1), growth=4)(torch.rand(2, 1, 16, 16)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 1,
        *,
        layers: Sequence[int] = (2, 4, 8, 16),
        growth: int = 8,
        width: int = 16,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if not layers or min(*layers, growth, width) < 1:
            raise ModelError(f"layers {layers!r}, growth {growth} and width {width} must be 1 or more")
        self.num_classes = num_classes
        self.conv = nn.Conv2d(in_chans, width, 3, padding=1, bias=not batch_norm)
        self.bn = nn.BatchNorm2d(width) if batch_norm else None
        self.relu = nn.ReLU()
        self.groups = nn.Sequential()
        channels = width
        for number, count in enumerate(layers, 1):
            if number > 1:
                self.groups.add_module(f"pool{number - 1}", nn.MaxPool2d(2))
            group = nn.Sequential()
            for _ in range(count):
                group.append(Dense(channels, growth, batch_norm))
                channels += growth
            self.groups.add_module(f"dense{number}", group)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            x: (N, in_chans, H, W).

        Returns:
            (N, num_classes).
        """
        x = self.conv(x)
        x = self.relu(x if self.bn is None else self.bn(x))
        return self.fc(self.groups(x).mean((2, 3)))
