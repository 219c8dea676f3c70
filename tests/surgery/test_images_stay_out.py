"""What a network's own code takes from images it sees first is not taken from calibration images."""

import pytest
import torch
from torch import nn

import surgeon

SIZE = (3, 8, 8)


class ActNorm(nn.Module):
    """A norm that is initialised by the first batch, as flows have it."""

    def __init__(self, channels):
        super().__init__()
        self.loc, self.scale = (nn.Parameter(torch.zeros(1, channels, 1, 1)) for _ in range(2))
        self.initialized = False

    def forward(self, x):
        if not self.initialized:
            with torch.no_grad():
                self.loc.copy_(-x.mean((0, 2, 3), keepdim=True))
            self.initialized = True
        return (x + self.loc) * self.scale.exp()


def flow():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        ActNorm(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1024, 5),
    )


@pytest.mark.parametrize(
    "recipe, start", [("kap", "sequential"), ("defective", "sequential"), ("wm-unsharp", "distill")]
)
def test_a_fit_leaves_data_dependent_initialisation_to_training(recipe, start):
    stock = flow()
    images = torch.randn(32, *SIZE, generator=torch.Generator().manual_seed(1)) * 3 + 1
    cut = surgeon.apply(stock, recipe, input_size=SIZE, calibration=images, warm_start=start)
    for network in (cut, surgeon.revert(cut), stock):
        norm = network.get_submodule("1")
        assert not norm.initialized and not norm.loc.any()
