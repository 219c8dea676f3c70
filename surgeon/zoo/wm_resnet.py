"""The residual network of the weight-map paper (arXiv 1905.00568), Table 2.

"Weight Map Layer for Noise and Adversarial Attack Robustness". 3, 4, 6 and 4 blocks of 8, 16, 32 and 64
channels, global average pooling, one fully connected layer. A block is two 3×3 convolutions with ReLUs; where
the channels double, its first convolution halves the size, and a 1×1 convolution projects the shortcut. The
table begins with a block, so there is no stem: the first block projects the image's channels to 8. The paper
states no norm and no parameter counts for this network, and there is no norm by default (`batch_norm=True`
puts one after each convolution, as He et al. do).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from surgeon.errors import ModelError


class Block(nn.Module):
    """Two 3×3 convolutions, and a shortcut that is projected if the shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int, batch_norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=not batch_norm)
        self.bn1 = _norm(outputs, batch_norm)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=not batch_norm)
        self.bn2 = _norm(outputs, batch_norm)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module | None = None
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential()
            self.shortcut.add_module("conv", nn.Conv2d(inputs, outputs, 1, stride, bias=not batch_norm))
            if batch_norm:
                self.shortcut.add_module("bn", nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: (N, C, H, W).

        Returns:
            (N, C', H', W').
        """
        y = self.conv1(x)
        y = self.relu1(y if self.bn1 is None else self.bn1(y))
        y = self.conv2(y)
        y = y if self.bn2 is None else self.bn2(y)
        return self.relu2(y + (x if self.shortcut is None else self.shortcut(x)))


class WeightMapResNet(nn.Module):
    """34 3×3 convolutions in 17 blocks, for any size of image; weight maps inserted later fix the size.

    Args:
        num_classes: Number of classes.
        in_chans: Channels of the images.
        widths: Channels of each stage.
        blocks: Number of blocks of each stage.
        batch_norm: Put a batch norm after each convolution.

    Raises:
        ModelError: `widths` and `blocks` have different lengths, or a number is below 1.

    Examples:
        >>> import torch
        >>> from surgeon.zoo import WeightMapResNet
        >>> WeightMapResNet()(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 1,
        *,
        widths: Sequence[int] = (8, 16, 32, 64),
        blocks: Sequence[int] = (3, 4, 6, 4),
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if len(widths) != len(blocks) or not widths or min(*widths, *blocks) < 1:
            raise ModelError(
                f"widths {widths!r} and blocks {blocks!r} must name the same stages, one or more"
            )
        self.num_classes = num_classes
        self.stages = nn.Sequential()
        channels = in_chans
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            row = nn.Sequential()
            for number in range(count):
                stride = 2 if stage and not number else 1
                row.append(Block(channels, width, stride, batch_norm))
                channels = width
            self.stages.append(row)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            x: (N, in_chans, H, W).

        Returns:
            (N, num_classes).
        """
        return self.fc(self.stages(x).mean((2, 3)))


def _norm(channels: int, batch_norm: bool) -> nn.Module | None:
    """Return a batch norm, or None."""
    return nn.BatchNorm2d(channels) if batch_norm else None
