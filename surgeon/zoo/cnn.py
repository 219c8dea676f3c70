"""The plain networks of the weight-map paper (arXiv 1905.00568), Table 1.

"Weight Map Layer for Noise and Adversarial Attack Robustness". Three convolutions with ReLUs, then fully
connected layers of 64 and 10 nodes, no pooling: `cnn` has 33, 33 and 8 channels, `cnn_wide` 200, 500 and 8,
and `wm_cnn` the 32, 32 and 8 of the weight-map variants, as plain convolutions for the recipes
wm-smoothing-all and wm-unsharp-all to replace.

The paper does not state the padding. Its parameter counts (Table 4, MNIST) determine it:

- Each convolution removes one pixel on every side, whatever its kernel: 28, 26, 24, 22, a padding of
  (K−3)/2. Only then do CNN 261K, kernel 9 361K, wide 1.19M, smoothing 1.16M (kernels 3 and 9) all follow,
  since the first fully connected layer then has 8·22·22 = 3872 inputs.
- The unsharp network keeps its size ("a suitable padding element to ensure similar spatial dimensions", below
  the equation of the unsharp layer), and with `same=True` its 1.49M follow, flattening 8·28·28.

One count cannot be matched: Table 4 gives "33 channels - input-scale" the 261K of the plain CNN; a map of
28·28 more is 261 854, which rounds to 262K.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from surgeon.errors import ModelError, either
from surgeon.zoo import parts


class PlainCNN(nn.Module):
    """Convolutions with ReLUs, a fully connected layer with a ReLU, and the classifier.

    Args:
        num_classes: Number of classes.
        in_chans: Channels of the images.
        img_size: Side of the images, or (H, W).
        widths: Channels of the convolutions.
        kernel_size: Side of all kernels; odd, at least 3. The paper compares 3 and 9.
        batch_norm: Put a batch norm between each convolution and its ReLU.
        same: The convolutions keep the size of the image; otherwise each removes one pixel on every side.
        hidden: Nodes of the hidden fully connected layer.

    Raises:
        ModelError: The kernel is even or too small, or nothing would be left of the images.

    Examples:
        >>> import torch
        >>> from surgeon.zoo import PlainCNN
        >>> PlainCNN(widths=(4, 4), kernel_size=9, hidden=8)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 1,
        img_size: int | Sequence[int] = 28,
        *,
        widths: Sequence[int] = (33, 33, 8),
        kernel_size: int = 3,
        batch_norm: bool = False,
        same: bool = False,
        hidden: int = 64,
    ) -> None:
        super().__init__()
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise ModelError(f"kernel_size is {kernel_size}; it must be odd and at least 3, such as 3 or 9")
        if not widths or min(widths) < 1:
            raise ModelError(
                f"widths is {widths!r}; write the channels of each convolution, such as [33, 33, 8]"
            )
        self.num_classes = num_classes
        self.img_size = parts.sides(img_size)
        shrink = 0 if same else 2 * len(widths)
        height, width = (n - shrink for n in self.img_size)
        if min(height, width) < 1:
            raise ModelError(
                f"images of {self.img_size[0]}×{self.img_size[1]} are too small: {len(widths)} convolutions take "
                f"{shrink} off each side; take larger images, or "
                + either("same=True", "--model-arg same=true")
            )
        self.maps = (widths[-1], height, width)
        self.features = nn.Sequential()
        channels = in_chans
        for number, out in enumerate(widths, 1):
            padding = (kernel_size - 1) // 2 - (not same)
            self.features.add_module(f"conv{number}", nn.Conv2d(channels, out, kernel_size, padding=padding))
            if batch_norm:
                self.features.add_module(f"bn{number}", nn.BatchNorm2d(out))
            self.features.add_module(f"relu{number}", nn.ReLU())
            channels = out
        self.fc1 = nn.Linear(channels * height * width, hidden)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            x: (N, in_chans, H, W).

        Returns:
            (N, num_classes).

        Raises:
            ModelError: The images have another size than `img_size`.
        """
        x = parts.flat(self.features(x), self.maps, self.img_size)
        return self.fc2(self.relu(self.fc1(x)))
