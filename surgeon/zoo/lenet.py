"""LeNet-5 as "Adversarial Noise Layer" (arXiv 1805.08000) describes it in footnote 1.

CONV-RELU-POOL-CONV-RELU-POOL-FC-RELU-FC-RELU-FC, with the sizes of LeCun et al. 1998: 6 and 16 channels,
kernels of 5×5, 120 and 84 nodes. The footnote states no sizes and no kind of pooling: here images of 28×28
are padded by 2 to LeCun's 32×32, and the pooling is a maximum over 2×2. The paper's noise layers stand
between CONV and RELU: the operation `adversarial-noise` with `after: conv`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from surgeon.errors import ModelError
from surgeon.zoo import parts


class LeNet5(nn.Module):
    """LeNet-5: 61 706 parameters for ten classes and grey images of 28×28.

    Args:
        num_classes: Number of classes.
        in_chans: Channels of the images.
        img_size: Side of the images, or (H, W).
        padding: Zeros around the image.

    Raises:
        ModelError: The images are too small for two convolutions and two poolings.

    Examples:
        >>> import torch
        >>> from surgeon.zoo import LeNet5
        >>> LeNet5(num_classes=3)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self, num_classes: int = 10, in_chans: int = 1, img_size: int | Sequence[int] = 28, padding: int = 2
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.img_size = parts.sides(img_size)
        height, width = (((n + 2 * padding - 4) // 2 - 4) // 2 for n in self.img_size)
        if min(height, width) < 1:
            raise ModelError(
                f"LeNet-5 with padding {padding} needs images of at least {16 - 2 * padding} a side, "
                f"not {self.img_size[0]}×{self.img_size[1]}"
            )
        self.maps = (16, height, width)
        self.conv1 = nn.Conv2d(in_chans, 6, 5, padding=padding)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * height * width, 120)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(120, 84)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            x: (N, in_chans, H, W).

        Returns:
            (N, num_classes).

        Raises:
            ModelError: The images have another size than `img_size`.
        """
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        x = parts.flat(x, self.maps, self.img_size)
        return self.fc3(self.relu4(self.fc2(self.relu3(self.fc1(x)))))
