"""A network of one's own with what no file of weights holds: a buffer that is not persistent, a tensor, numbers."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 4)
        self.register_buffer("scale", torch.ones(16, 1, 1), persistent=False)
        self.shift = torch.zeros(16, 1, 1)
        self.gain = self._gain = 1.0

    def forward(self, x):
        x = (self.conv(x) * self.scale + self.shift).relu().mean((2, 3))
        return self.fc(x) * self.gain * self._gain
