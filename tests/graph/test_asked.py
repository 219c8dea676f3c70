"""What code asks for while it is traced (types, settings and modes of modules that it calls) is in the graphs: where
the answer is another one later, they are made anew, others are taken, or a warning names it."""

import copy
import io
import warnings

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

import surgeon
from surgeon.errors import SurgeryError
from tests.own_models.checks import SIZE, images


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(8, 5)

    def features(self, x):
        return F.relu(self.norm(self.conv(x)))

    def logits(self, h):
        return self.fc(h.mean((2, 3)))


class Pixels(Net):
    """Divides what is given as bytes."""

    def forward(self, x):
        if not x.is_floating_point():
            x = x / 255
        return self.logits(self.features(x.float()))


class PixelsByType(Net):
    def forward(self, x):
        if x.dtype == torch.uint8:
            x = x.float() / 255
        return self.logits(self.features(x))


class HalfClamp(Net):
    """Decides by the type of its activations."""

    def forward(self, x):
        h = self.features(x)
        if h.dtype in (torch.float16, torch.bfloat16):
            h = h / 4
        return self.logits(h)


class ByWeight(Net):
    def forward(self, x):
        y = self.logits(self.features(x))
        return y * 3 if self.fc.weight.dtype == torch.bfloat16 else y


class Limits(Net):
    def forward(self, x):
        h = self.features(x)
        return self.logits(h * (torch.finfo(h.dtype).eps ** 0.1))


class OwnType(Net):
    @property
    def dtype(self):
        return next(self.parameters()).dtype

    def forward(self, x):
        return self.logits(self.features(x.to(device=x.device, dtype=self.dtype)))


class ByIdentity(Net):
    def forward(self, x):
        if x.dtype is torch.uint8:
            x = x / 255
        return self.logits(self.features(x.float()))


class Wide(Net):
    def forward(self, x):
        return self.logits(self.features(x)) / self.fc.out_features**0.5


class Dropped(Net):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.0)

    def forward(self, x):
        return F.dropout(self.logits(self.features(x)), self.drop.p, self.training)


class ByMode(Net):
    def forward(self, x):
        return self.logits(self.features(x * 2 if self.norm.training else x))


def pair(kind, recipe="noise"):
    """A network, and the same cut with layers that are the identity in evaluation mode."""
    torch.manual_seed(0)
    stock = kind().eval()
    return stock, surgeon.apply(stock, recipe, input_size=SIZE).eval()


def told(model):
    """How many graphs a network has beside its own two."""
    return len(model._variants.kept)


@pytest.mark.parametrize("kind", [Pixels, PixelsByType])
def test_bytes_take_the_branch_for_bytes(kind):
    stock, cut = pair(kind)
    x = images()
    given = (x.abs() * 80).clamp(0, 255).to(torch.uint8)
    torch.testing.assert_close(cut(given), stock(given))
    torch.testing.assert_close(cut(x), stock(x))
    assert told(cut) == 1


@pytest.mark.parametrize("kind", [HalfClamp, ByWeight, Limits, OwnType])
@pytest.mark.parametrize("way", [lambda m: m, copy.deepcopy], ids=["itself", "copy"])
def test_a_network_of_another_type_takes_its_branches(kind, way):
    stock, cut = pair(kind)
    x = images()
    stock, cut = stock.bfloat16(), way(cut).bfloat16()
    given = x if kind is OwnType else x.bfloat16()
    torch.testing.assert_close(cut(given), stock(given), rtol=0, atol=0.02)
    assert cut(given).dtype == torch.bfloat16
    stock, cut = stock.float(), cut.float()
    torch.testing.assert_close(cut(x), stock(x))


def test_under_autocast_the_branch_is_that_of_its_type():
    stock, cut = pair(HalfClamp)
    x = images()
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(cut(x), stock(x), rtol=0, atol=0.02)
        torch.testing.assert_close(cut(x), stock(x))
    assert told(cut) == 1


def test_where_a_call_is_recorded_another_type_is_an_error_that_says_what_to_do():
    stock, cut = pair(Pixels)
    given = (images().abs() * 80).clamp(0, 255).to(torch.uint8)
    compiled = torch.compile(cut, backend="eager")
    with pytest.raises(
        SurgeryError, match="decides by types and was rewritten for float32; it was given uint8"
    ):
        compiled(given)
    cut(given)
    torch.testing.assert_close(compiled(given), stock(given))


def test_a_type_that_is_compared_by_identity_is_refused():
    with pytest.raises(SurgeryError, match="compares a type by `is`"):
        pair(ByIdentity)


def test_a_setting_that_the_code_read_is_that_of_the_present_layer():
    stock, cut = pair(Wide)
    x = images()
    head = nn.Linear(8, 2)
    stock.fc = cut.fc = head
    torch.testing.assert_close(cut(x), stock(x))


def test_a_setting_that_the_code_read_may_change():
    stock, cut = pair(Dropped, "anl")
    for model in (stock, cut):
        model.train()
        model.drop.p = 1.0
    assert not stock(images()).any()
    assert not cut(images()).any()


def test_a_setting_acts_in_graphs_for_other_sizes_too():
    _, cut = pair(Dropped)
    cut.train()
    cut(torch.randn(4, 3, 12, 12))
    cut.drop.p = 1.0
    assert not cut(torch.randn(4, 3, 12, 12)).any()


def test_a_mode_that_the_code_read_is_warned_of():
    _, cut = pair(ByMode, "anl")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cut(images())
        cut.train()
        cut(images())
    cut.norm.eval()
    with pytest.warns(UserWarning, match="norm is in evaluation mode"):
        cut(images())


def test_saved_and_read_it_still_asks():
    stock, cut = pair(Dropped, "anl")
    file = io.BytesIO()
    torch.save(cut, file)
    file.seek(0)
    again = torch.load(file, weights_only=False).train()
    again.drop.p = 1.0
    assert not again(images()).any()


def test_a_network_that_asks_nothing_is_not_asked():
    cut = surgeon.apply(timm.create_model("resnet18", num_classes=10).eval(), "noise", input_size=(3, 32, 32))
    assert not cut._asked.by_type and not cut._asked.types and cut._types is None
    graph = cut.eval_graph
    cut.bfloat16()(torch.randn(2, 3, 32, 32).bfloat16())
    assert cut.eval_graph is graph and not told(cut)
