"""What other people's code does to a rewritten network: clones by hand, averages over every buffer, settings
set late."""

import copy

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import LayerError

SIZE = (3, 16, 16)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2, self.fc = nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(self.conv2(torch.relu(self.bn(self.conv(x)))).mean((2, 3)))


def clone(module):
    """As learn2learn clones modules: by `__new__` and a copied `__dict__`."""
    new = module.__new__(type(module))
    new.__dict__ = module.__dict__.copy()
    new._parameters = {k: None if p is None else p.clone() for k, p in module._parameters.items()}
    new._buffers = dict(module._buffers)
    new._modules = {k: clone(m) for k, m in module._modules.items()}
    return new


@pytest.mark.parametrize("recipe", ["kap", "anl", "wm-unsharp", "defective"])
def test_a_clone_by_hand_has_the_layers_and_its_own_parameters(recipe):
    torch.manual_seed(0)
    cut = surgeon.apply(Net().eval(), recipe, input_size=SIZE).eval()
    x = torch.randn(2, *SIZE)
    other = clone(cut)
    assert torch.equal(other(x), cut(x))
    wanted = cut(x)
    with torch.no_grad():
        other.fc._parameters["weight"] = other.fc.weight * 2
        other.fc._parameters["bias"] = other.fc.bias * 2
    assert torch.allclose(other(x), 2 * wanted, rtol=1e-5) and torch.equal(cut(x), wanted)
    assert type(type(cut)()) is Net  # calling the class gives a stock network, as before


def test_a_clone_by_hand_of_a_class_with_arguments():
    import torchvision

    cut = surgeon.apply(torchvision.models.resnet18(num_classes=4).eval(), "anl", input_size=(3, 32, 32))
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(clone(cut.eval())(x), cut(x))


def test_an_average_over_every_buffer_keeps_an_order_that_it_does_not_move():
    torch.manual_seed(0)
    net = Net().eval()
    images = torch.randn(32, *SIZE)
    cut = surgeon.apply(net, {"op": "kap", "start": "lstsq"}, input_size=SIZE).eval()
    assert cut.conv.kap.order is not None
    mean = copy.deepcopy(cut)
    for a, b in zip(mean.buffers(), cut.buffers(), strict=True):
        a.data = a.data * 0.9 + b.data * 0.1
    assert torch.equal(mean(images), cut(images)) and mean.conv.kap.order.dtype == torch.int64
    mean.conv.kap.order.data = mean.conv.kap.order.data * 0.9 + mean.conv.kap.order.data.flip(0) * 0.1
    with pytest.raises(LayerError, match="no whole numbers"):
        mean(images)


def test_a_weight_map_refuses_other_padding_than_zeros():
    cut = surgeon.apply(Net().eval(), "wm-unsharp", input_size=SIZE)
    with pytest.raises(LayerError, match="padding_mode='circular'"):
        cut.conv2.padding_mode = "circular"
    cut.conv2.padding_mode = "zeros"
