"""The CIFAR-10 residual networks of He et al. (CVPR 2016), section 4.2.

"Deep Residual Learning for Image Recognition". 6n + 2 layers: a 3×3 convolution of 16 channels, three stages
of n blocks with 16, 32 and 64 channels, global average pooling, one fully connected layer. Shortcuts are of
option A, without parameters: where the channels grow, every other pixel, and zeros for the new channels (half
before, half after the old ones, as the common public weights expect). "Adversarial Noise Layer" (arXiv
1805.08000), Table 2, trains those of 20 and 56 layers.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from surgeon.errors import ModelError

WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """Two 3×3 convolutions and a shortcut without parameters."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.stride, self.added = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: (N, C, H, W).

        Returns:
            (N, C', H', W').
        """
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.added:
            before = self.added // 2
            x = F.pad(x, (0, 0, 0, 0, before, self.added - before))
        return self.relu2(y + x)


class CifarResNet(nn.Module):
    """A residual network of 6n + 2 layers.

    Args:
        depth: Number of layers.
        num_classes: Number of classes.
        in_chans: Channels of the images.

    Raises:
        ModelError: `depth` is not 6n + 2.

    Examples:
        >>> import torch
        >>> from surgeon.zoo import CifarResNet
        >>> CifarResNet(depth=8)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, depth: int = 20, num_classes: int = 10, in_chans: int = 3) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            near = max(8, 6 * round((depth - 2) / 6) + 2)
            raise ModelError(f"depth is {depth}; it must be 6n+2, such as {near}")
        self.num_classes = num_classes
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_chans, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU()
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], 1, blocks)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], 2, blocks)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], 2, blocks)
        self.linear = nn.Linear(WIDTHS[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            x: (N, in_chans, H, W).

        Returns:
            (N, num_classes).
        """
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def _stage(inputs: int, outputs: int, stride: int, blocks: int) -> nn.Sequential:
    """Return a stage of blocks."""
    return nn.Sequential(
        Block(inputs, outputs, stride), *(Block(outputs, outputs, 1) for _ in range(blocks - 1))
    )
