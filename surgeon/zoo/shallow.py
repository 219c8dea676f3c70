"""The shallow networks of "Learning Robust Kernel Ensembles with Kernel Average Pooling".

arXiv 2210.00062, sections 4.1 and 4.2 (Fig. 4): "simple convolutional networks with 1-3 convolutions", each
followed by a batch norm and a ReLU, on CIFAR-10; KAP comes directly after each convolution. The paper does
not state widths, kernels, strides or what follows the last ReLU. Ours: 64 channels (a sheet of 8×8), kernels
of 3×3, stride 2 from the second convolution on, global average pooling and one fully connected layer. Fig. 4b
keeps the number of ensembles and widens the layers for windows of stride K: that is the recipe kap-ensemble.
"""

from __future__ import annotations

from torch import Tensor, nn

from surgeon.errors import ModelError


class Shallow(nn.Module):
    """Convolution, batch norm and ReLU, `depth` times, then the classifier.

    Args:
        depth: Number of convolutions.
        num_classes: Number of classes.
        in_chans: Channels of the images.
        width: Channels of each convolution.
        kernel_size: Side of the kernels; odd.
        stride: Stride of every convolution but the first.

    Raises:
        ModelError: `depth` is below 1, or the kernel is even.

    Examples:
        >>> import torch
        >>> from surgeon.zoo import Shallow
        >>> Shallow(depth=2, width=8)(torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        depth: int = 3,
        num_classes: int = 10,
        in_chans: int = 3,
        *,
        width: int = 64,
        kernel_size: int = 3,
        stride: int = 2,
    ) -> None:
        super().__init__()
        if depth < 1 or kernel_size < 1 or kernel_size % 2 == 0:
            raise ModelError(f"depth {depth} must be 1 or more and kernel_size {kernel_size} odd")
        self.num_classes = num_classes
        self.features = nn.Sequential()
        channels = in_chans
        for number in range(1, depth + 1):
            conv = nn.Conv2d(
                channels, width, kernel_size, 1 if number == 1 else stride, kernel_size // 2, bias=False
            )
            self.features.add_module(f"conv{number}", conv)
            self.features.add_module(f"bn{number}", nn.BatchNorm2d(width))
            self.features.add_module(f"relu{number}", nn.ReLU())
            channels = width
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            x: (N, in_chans, H, W).

        Returns:
            (N, num_classes).
        """
        return self.fc(self.features(x).mean((2, 3)))
