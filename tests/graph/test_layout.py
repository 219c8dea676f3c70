"""The axis of a module's channels: what is said is right, and what cannot be known is not said."""

import pytest
import timm
import torch
from torch import nn

import surgeon


class Net(nn.Module):
    """A convolution of 12 channels, some turning, and an activation; `turn` is the code between the two."""

    def __init__(self, turn, *, linear=False):
        super().__init__()
        self.conv, self.act, self.turn = nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), turn
        self.fc = nn.Linear(12, 12) if linear else nn.Identity()

    def forward(self, x):
        return self.act(self.fc(self.turn(self.conv(x))))


CASES = {
    "as it is": (lambda x: x, 0),
    "tokens": (lambda x: x.flatten(2).transpose(1, 2), -1),
    "tokens by negative axes": (lambda x: x.flatten(2).transpose(-1, -2), -1),
    "flattened alone": (lambda x: x.flatten(2), 0),
    "channels last": (lambda x: x.permute(0, 2, 3, 1), -1),
    "channels last, in a tuple": (lambda x: x.permute((0, 2, 3, 1)), -1),
    "there and back": (lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2), 0),
    "through arithmetic": (lambda x: (x * 2 + x).relu(), 0),
    "joined": (lambda x: torch.cat([x, x], 1), 0),
    "shuffled": (lambda x: x.view(-1, 2, 6, 8, 8).transpose(1, 2).reshape(-1, 12, 8, 8), None),
    "another permutation": (lambda x: x.permute(0, 2, 1, 3), None),
    "as another one": (lambda x: x.flatten(1).reshape_as(x), 0),
    "unknown function": (lambda x: torch.fft.fft2(x).real, None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_axis_is_where_the_channels_are_or_unknown(case):
    turn, axis = CASES[case]
    sites = {s.name: s for s in surgeon.sites(Net(turn), input_size=(3, 8, 8))}
    site = sites["act"]
    assert site.channel_axis == axis
    assert site.channels == (None if axis is None else site.out_shape[axis])
    if axis is not None:  # by the shape: 12 channels, or twice as many
        assert site.channels in (12, 24)


def test_a_linear_layer_writes_the_last_axis_whatever_came_before():
    net = Net(lambda x: x.permute(0, 2, 3, 1), linear=True)
    sites = {s.name: s for s in surgeon.sites(net, input_size=(3, 8, 8))}
    assert sites["act"].channel_axis == -1 and sites["fc"].channel_axis == -1


def test_an_activation_with_two_layouts_is_unknown():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act, self.fc = nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Linear(4, 4)

        def forward(self, x):
            return self.act(self.fc(self.act(self.conv(x)).flatten(2).transpose(1, 2)))

    sites = {s.name: s for s in surgeon.sites(Both(), input_size=(3, 8, 8))}
    assert sites["act"].channel_axis is None


@pytest.mark.parametrize(
    "name", ["convnext_atto", "vit_tiny_patch16_224", "efficientnet_b0", "mixer_s32_224"]
)
def test_channels_of_activations_are_those_that_the_layer_before_writes(name):
    """Where a layer with weights stands right before an activation, both have the same number of channels."""
    model = timm.create_model(name)
    sites = surgeon.sites(model, input_size=model.default_cfg["input_size"])
    pairs = [(a, b) for a, b in zip(sites, sites[1:], strict=False) if b.kind == "activation"]
    assert pairs
    for before, site in pairs:
        assert site.channels == before.channels, (before.name, site.name)
