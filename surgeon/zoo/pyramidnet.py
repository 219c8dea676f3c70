"""The pyramidal residual networks of Han, Kim and Kim (CVPR 2017) for small images.

"Deep Pyramidal Residual Networks", arXiv 1610.02915. 6n + 2 layers: a 3×3 convolution of 16 channels, three stages of
n blocks, a batch norm, a ReLU, global average pooling, one fully connected layer. Each of the N = 3n blocks has α/N
channels more than the one before (eq. 3; α = 48 and 270 at 110 layers). A block is norm, convolution, norm, ReLU,
convolution, norm (Fig. 6 d). Its shortcut has no parameters: zeros for the new channels, and a 2×2
average where the block has stride 2. "Adversarial Noise Layer" (arXiv 1805.08000), Table 3, trains "PyramidNet-48" and
"PyramidNet-270"; its depth is not stated.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from surgeon.errors import ModelError

FIRST = 16
"""Channels of the first convolution."""


class PyramidBlock(nn.Module):
    """Two 3×3 convolutions between three norms, and a shortcut without parameters."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.added = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: (N, C, H, W).

        Returns:
            (N, C', H', W').
        """
        y = self.bn3(self.conv2(self.relu(self.bn2(self.conv1(self.bn1(x))))))
        return y + F.pad(self.shortcut(x), (0, 0, 0, 0, 0, self.added))


class PyramidNet(nn.Module):
    """A pyramidal residual network of 6n + 2 layers.

    Args:
        depth: Number of layers.
        alpha: Channels that the last block has more than the first convolution.
        num_classes: Number of classes.
        in_chans: Channels of the images.
        drop_rate: Share of the pooled features that is left out in training, before the fully connected layer.

    Raises:
        ModelError: `depth` is not 6n + 2, or `alpha` is below 0.
    """

    def __init__(
        self,
        depth: int = 110,
        alpha: int = 48,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ModelError(
                f"depth is {depth}; it must be 6n+2, such as {max(8, 6 * round((depth - 2) / 6) + 2)}"
            )
        if alpha < 0:
            raise ModelError(f"alpha is {alpha}; it must be 0 or more, such as 48")
        self.num_classes = num_classes
        each = (depth - 2) // 6
        widths = [FIRST + alpha * k // (3 * each) for k in range(3 * each + 1)]
        self.conv1 = nn.Conv2d(in_chans, FIRST, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(FIRST)
        self.layer1, self.layer2, self.layer3 = (
            _stage(widths[n * each : (n + 1) * each + 1], 2 if n else 1) for n in range(3)
        )
        self.bn2 = nn.BatchNorm2d(widths[-1])
        self.relu = nn.ReLU()
        self.drop = nn.Dropout(drop_rate)
        self.linear = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            x: (N, in_chans, H, W).

        Returns:
            (N, num_classes).
        """
        x = self.bn1(self.conv1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(self.drop(self.relu(self.bn2(x)).mean((2, 3))))


def _stage(widths: Sequence[int], stride: int) -> nn.Sequential:
    """Return a stage of blocks; the first has the stride."""
    pairs = zip(widths, widths[1:], strict=False)
    return nn.Sequential(
        *(PyramidBlock(one, other, 1 if k else stride) for k, (one, other) in enumerate(pairs))
    )
