"""Tracing: faithful in both modes, and the model left as it was."""

import pytest
import timm
import torch
from torch import nn

from surgeon.errors import TraceError
from surgeon.graph.rewritten.network import Rewritten
from surgeon.graph.tracing.trace import trace


class Branching(nn.Module):
    """A part that branches on the values of its input."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.conv(x) if x.sum() > 0 else self.conv(-x)


class Whole(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.part = part

    def forward(self, x):
        return self.part(self.stem(x))


class BySize(nn.Module):
    """A part that branches on the size of its input, as timm's ConvMlp does."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        if x.shape[-1] < 8:
            x = nn.functional.interpolate(x, scale_factor=2.0)
        return self.conv(x)


class Constant(nn.Module):
    """Makes a tensor on the way, which torch.fx would leave on the model."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.conv(x * torch.tensor([0.5]))


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(
    "name", ["resnet18", "densenet121", "mobilenetv3_small_100", "convnext_atto", "regnety_002"]
)
def test_a_network_rewritten_without_edits_equals_the_stock_one_in_both_modes(name, mode):
    model = timm.create_model(name, num_classes=7, drop_rate=0.3, **_drop_path(name))
    rewritten = Rewritten(_copy(model))
    x = torch.randn(3, 3, 64, 64)
    getattr(model, mode)(), getattr(rewritten, mode)()
    torch.manual_seed(5)
    wanted = model(x)
    torch.manual_seed(5)
    assert torch.equal(rewritten(x), wanted)


def _drop_path(name):
    return {} if name in ("densenet121",) else {"drop_path_rate": 0.3}


def _copy(model):
    import copy

    return copy.deepcopy(model)


def test_auxiliary_heads_exist_in_training_alone():
    from torchvision.models import googlenet

    model = googlenet(weights=None, init_weights=False, num_classes=4)
    rewritten = Rewritten(_copy(model))
    x = torch.randn(2, 3, 96, 96)
    rewritten.train(), model.train()
    torch.manual_seed(0)
    new = rewritten(x)
    torch.manual_seed(0)
    old = model(x)
    assert len(new) == 3
    assert all(torch.equal(a, b) for a, b in zip(new, old, strict=True))
    assert isinstance(rewritten.eval()(x), torch.Tensor)


def test_a_part_that_branches_on_data_is_kept_whole_and_named():
    traced = trace(Whole(Branching()))
    assert list(traced.opaque) == ["part"]
    assert "control flow" in traced.opaque["part"]


def test_a_root_that_branches_on_data_is_an_error_that_says_why():
    with pytest.raises(TraceError, match=r"Branching.forward cannot be traced: .*control flow"):
        trace(Branching())


def test_a_part_that_branches_on_size_is_traced_for_each_size():
    part = BySize()
    network = Rewritten(_copy(part), example=((2, 4, 8, 8),))
    for size in (8, 4, 12):
        x = torch.randn(2, 4, size, size)
        assert torch.equal(network(x), part(x))


def test_tracing_leaves_nothing_on_the_model():
    model = Constant()
    before = (set(model.__dict__), [m.training for m in model.modules()])
    traced = trace(model)
    assert (set(model.__dict__), [m.training for m in model.modules()]) == before
    assert list(traced.constants)


def test_a_tensor_made_on_the_way_moves_with_the_network_and_stays_out_of_its_state():
    network = Rewritten(Constant())
    assert list(network.state_dict()) == ["conv.weight", "conv.bias"]
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(network.double()(x.double()), network.conv(x.double() * 0.5))
    buffers = len(list(network.buffers()))
    network.retrace()
    assert len(list(network.buffers())) == buffers


def test_arguments_with_defaults_are_traced_at_them():
    class Optional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x, mask=None, *, flip: bool = False):
            x = self.conv(x)
            if mask is not None:
                x = x * mask
            return x.flip(-1) if flip else x

    network = Rewritten(Optional())
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(network(x), network.conv(x))


class Pads(nn.Module):
    """Makes numbers of sizes, as padding that keeps them does; `count` also of the number of images."""

    def __init__(self, count=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.count = count

    def forward(self, x):
        height, width = int(x.shape[-2]), int(x.shape[-1])
        x = self.conv(nn.functional.pad(x, [max(4 - width % 4, 0), 0, max(4 - height % 4, 0), 0]))
        return x.reshape(int(x.shape[0]), -1) if self.count else x.flatten(1)


def test_numbers_that_code_makes_of_sizes_are_those_of_each_size():
    part = Pads()
    network = Rewritten(_copy(part), example=((2, 3, 8, 8),))
    for shape in ((2, 3, 8, 8), (5, 3, 8, 8), (1, 3, 7, 9), (3, 3, 6, 8)):
        x = torch.randn(shape)
        assert torch.equal(network(x), part(x))


def test_a_number_of_images_is_not_kept_in_a_graph():
    with pytest.raises(TraceError, match="Pads makes a number of how many images there are"):
        Rewritten(Pads(count=True), example=((2, 3, 8, 8),))


def test_tracing_with_values_counts_no_batch():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(x) if x.shape[-1] > 2 else x

    model = Normed()
    trace(model, example=((2, 3, 8, 8),))
    assert int(model.norm.num_batches_tracked) == 0
