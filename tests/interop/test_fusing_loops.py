"""Loops that fuse norms into convolutions after the cut, as YOLO's do: a new convolution, no norm, another forward."""

import copy

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeonError, SurgeryError

SIZE = (3, 8, 8)


class Block(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn, self.act, self.normed = nn.BatchNorm2d(outputs), nn.SiLU(), True

    def forward(self, x):
        x = self.conv(x)
        return self.act(self.bn(x) if self.normed else x)

    def forward_fuse(self, x):
        return self.act(self.conv(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.fc = Block(3, 16), Block(16, 16), nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(self.two(self.one(x)).mean((2, 3)))


def fuse(network, keep=False):
    for block in network.modules():
        if isinstance(block, Block) and hasattr(block, "bn"):
            block.conv = nn.utils.fuse_conv_bn_eval(block.conv, block.bn)
            block.forward = block.forward_fuse
            if not keep:
                del block.bn


@pytest.fixture
def stock():
    torch.manual_seed(0)
    network = Net()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_()
    return network.eval()


@pytest.mark.parametrize("keep", [False, True], ids=["norm-deleted", "norm-kept"])
def test_a_norm_is_not_fused_across_a_pooling(stock, keep):
    cut = surgeon.apply(stock, "kap", sigma=0.0, input_size=SIZE).eval()
    fuse(cut, keep)
    for _ in range(2):  # also when it is called again
        with pytest.raises(
            SurgeryError, match=r"one\.bn, which came behind .* fold or revert, change, and apply again"
        ):
            cut(torch.randn(2, *SIZE))


def test_folding_first_works(stock):
    x = torch.randn(2, *SIZE)
    cut = surgeon.apply(stock, "kap", sigma=0.0, input_size=SIZE).eval()
    folded = surgeon.fold(cut).eval()
    fuse(folded)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), cut(x), rtol=1e-4, atol=1e-5)


def test_a_setting_that_leaves_norms_out_acts(stock):
    x = torch.randn(2, *SIZE)
    cut = surgeon.apply(stock, "kap", sigma=0.0, input_size=SIZE).eval()
    before = cut(x)
    for block in (cut.one, cut.two):
        block.normed = False
    assert not torch.allclose(cut(x), before)


def by_shapes(conv, norm):
    """As YOLO's fuse: a new convolution from the old one's settings and weights."""
    sizes = (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    made = nn.Conv2d(*sizes, conv.groups, bias=True)
    made.weight.data.copy_(
        conv.weight * (norm.weight / (norm.running_var + norm.eps) ** 0.5)[:, None, None, None]
    )
    return made


@pytest.mark.parametrize("fused", [nn.utils.fuse_conv_bn_eval, by_shapes], ids=["torch", "yolo"])
@pytest.mark.parametrize("start", ["mean", "anneal"])
def test_what_replaced_a_convolution_says_what_it_is_not(stock, fused, start, tmp_path):
    cut = surgeon.apply(stock, "wm-smoothing-all", start=start, input_size=SIZE).eval()
    surgeon.save(cut, tmp_path / "saved")
    for network in (cut, copy.deepcopy(cut), surgeon.load(tmp_path / "saved", model=Net()).eval()):
        conv = network.two.conv
        assert not hasattr(conv, "weight") and getattr(conv, "weight", None) is None
        with pytest.raises(SurgeonError, match=r"^two\.conv was a Conv2d, .* before surgeon\.apply or after"):
            fused(conv, network.two.bn)
        with pytest.raises(AttributeError, match="object has no attribute 'wieght'"):
            conv.wieght  # noqa: B018
    back = surgeon.revert(cut).eval()
    fuse(back)
    with torch.no_grad():
        x = torch.randn(2, *SIZE)
        torch.testing.assert_close(back(x), stock(x), rtol=1e-4, atol=1e-5)
