"""Loops over convolutions that change stride, padding and dilation after the cut, as segmentation makes a backbone
dilated."""

import warnings

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError

SIZE = (3, 16, 16)
X = torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.short = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        return torch.relu(self.conv2(torch.relu(self.conv1(x))) + self.short(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.fc = Block(3, 16, 1), Block(16, 16, 2), nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(self.two(self.one(x)).mean((2, 3)))


def dilate(network, stride=True):
    """As segmentation_models_pytorch's `replace_strides_with_dilation`."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            if stride:
                module.stride = (1, 1)
            module.dilation = (2, 2)
            module.padding = tuple(k // 2 * 2 for k in module.kernel_size)


def by_attributes(network):
    """A loop that asks for no class."""
    for module in network.modules():
        if hasattr(module, "dilation"):
            module.stride, module.dilation, module.padding = 1, 2, 2 * (module.kernel_size[0] // 2)


@pytest.fixture
def stock():
    torch.manual_seed(0)
    return Net().eval()


@pytest.mark.parametrize("loop", [dilate, by_attributes])
@pytest.mark.parametrize("recipe", ["wm-smoothing", "wm-smoothing-all", "defective"])
def test_layers_of_one_size_say_what_no_longer_fits(stock, recipe, loop):
    cut = surgeon.apply(stock, recipe, input_size=SIZE).eval()
    loop(cut)
    for _ in range(2):  # also when it is called again
        with pytest.raises(
            SurgeryError,
            match=r"^(one|two)\.\w+: (stride|padding|dilation) .* in place of .*(conv|relu).* for one size: .*"
            r"dilation of convolutions before surgeon\.apply, or fold or revert, change, and apply again$",
        ):
            cut(X)


def test_the_order_that_the_error_names_works(stock):
    back = surgeon.revert(surgeon.apply(stock, "wm-smoothing", input_size=SIZE)).eval()
    dilate(back)
    cut = surgeon.apply(back, "wm-smoothing", input_size=SIZE).eval()
    assert cut.two.conv2.dilation == (2, 2) and cut(X).shape == (2, 5)


def test_settings_put_back_run_again(stock):
    cut = surgeon.apply(stock, "wm-smoothing", input_size=SIZE).eval()
    before = cut(X)
    cut.two.conv1.stride = (1, 1)
    with pytest.raises(SurgeryError, match="two.conv1: stride"):
        cut(X)
    cut.two.conv1.stride = (2, 2)
    assert torch.equal(cut(X), before)


def test_what_a_loop_passes_over_is_told_where_all_fits(stock):
    cut = surgeon.apply(stock, "wm-smoothing", input_size=SIZE).eval()
    dilate(cut, stride=False)
    with pytest.warns(
        UserWarning, match=r"one\.conv1: padding .*one\.conv2 \(WeightMap2d\) and 1 more are no convol"
    ):
        cut(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is told once
        cut(X)


def test_what_is_for_any_size_is_dilated_as_the_stock_network(stock):
    cut = surgeon.apply(stock, "kap", sigma=0.0, input_size=SIZE).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dilate(cut)
        told = cut(X)
    with torch.no_grad():
        torch.testing.assert_close(surgeon.fold(cut).eval()(X), told, rtol=1e-4, atol=1e-5)
