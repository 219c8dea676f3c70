"""A training whose loss stays finite and whose weights do not is stopped at once; gradients that torch leaves unwritten
on a CPU are zeros."""

import pytest
import torch
from torch import nn

from surgeon.data import Images
from surgeon.errors import TrainingError
from surgeon.recipe import Training
from surgeon.training import fit
from surgeon.training.only_padding import blind_places


class Hidden(nn.Module):
    """Its scale gets a gradient of NaN from a branch that is not taken, and outputs do not show it."""

    def __init__(self):
        super().__init__()
        self.head, self.scale = nn.Linear(64, 2), nn.Parameter(torch.zeros(1))

    def forward(self, x):
        x = self.head(x.flatten(1))
        return x + torch.where(x > 1e9, x * self.scale.sqrt() * 0, torch.zeros_like(x))


class Small(nn.Module):
    def __init__(self, side=1, stride=2):
        super().__init__()
        self.pool, self.conv = nn.AdaptiveAvgPool2d(side), nn.Conv2d(1, 16, 3, stride=stride, padding=1)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.conv(self.pool(x)).mean((2, 3)))


def images():
    torch.manual_seed(1)
    return Images(torch.rand(32, 1, 8, 8), torch.arange(32) % 2)


def trained(network, **more):
    torch.manual_seed(0)
    return fit(
        network,
        images(),
        None,
        Training(epochs=1, batch_size=16, weight_decay=0),
        device="cpu",
        progress=False,
        **more,
    )


def test_weights_that_are_not_finite_stop_a_training_whose_loss_is():
    with pytest.raises(
        TrainingError, match="not finite in epoch 0, step 0, .*: those of scale, while the loss was finite"
    ):
        trained(Hidden())


class Unwritten(torch.autograd.Function):
    """What torch leaves in these gradients by luck, each time."""

    @staticmethod
    def forward(ctx, weight):
        return weight.clone()

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone()
        gradient[..., 0, 0] = torch.nan
        return gradient


class Careless(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, Unwritten.apply(self.weight), self.bias)


def test_kernels_that_see_padding_alone_get_no_gradient_in_bfloat16_on_a_cpu():
    network = Small()
    network.conv = Careless(1, 16, 3, stride=2, padding=1)
    start = network.conv.weight.detach().clone()
    trained(network, mixed_precision="bf16")
    moved = (network.conv.weight.detach() != start).flatten(0, 1).any(0)
    assert moved.tolist() == [[False] * 3, [False, True, False], [False] * 3]
    assert not network.conv._forward_pre_hooks and not network.conv.weight._backward_hooks
    with pytest.raises(TrainingError, match="those of conv.weight"):
        trained(network)


@pytest.mark.parametrize("side", [1, 2, 3, 5])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_places_that_see_padding_alone_are_those_that_no_image_moves(side, kernel, stride, dilation):
    padding = (dilation * (kernel // 2), 1)
    conv = nn.Conv2d(1, 1, (kernel, 3), (stride, 3), padding, (dilation, 1), bias=False).double()
    nn.init.ones_(conv.weight)
    conv(torch.ones(1, 1, side, 2, dtype=torch.float64)).sum().backward()
    assert torch.equal(blind_places(conv, (side, 2)), conv.weight.grad[0, 0] == 0)
