"""What a forward leaves on its modules, parameters that become others, and arguments of other types, after the cut."""

import copy

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError
from tests.own_models.losing import RECIPES, SIZE, Base, images

# -- what a forward leaves on the modules -----------------------------------------------------------


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.conv2 = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3)
        self.aux_loss, self.found = 0.0, {}

    def forward(self, x):
        y = self.norm(self.conv(x))
        self.aux_loss = y.square().mean()
        self.found["map"] = y
        return self.conv2(y)


class Leaving(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.fc, self.features = Block(), nn.Linear(16, 5), None

    def forward(self, x):
        h = self.first(x).mean((2, 3))
        self.features = {"pooled": h, "sizes": (1, 2)}
        return self.fc(h)


@pytest.mark.parametrize("recipe", ["noise", *RECIPES])
def test_results_are_left_on_the_modules(recipe):
    net = Leaving()
    stock, cut = copy.deepcopy(net).eval(), surgeon.apply(net, recipe, input_size=SIZE).eval()
    assert len(cut.surgery.edits) >= 1
    for network in (net, cut):  # nothing of surgeon's own passes
        assert network.first.aux_loss == 0.0
        assert network.first.found == {}
        assert network.features is None
    for scale in (1, 3):
        x = images() * scale
        out = cut(x), stock(x)
        found, wanted = cut.first.aux_loss, stock.first.aux_loss
        assert found.requires_grad
        assert found.shape == wanted.shape
        assert cut.features.keys() == stock.features.keys()
        assert cut.features["sizes"] == (1, 2)
        assert torch.equal(cut.fc(cut.features["pooled"]), out[0])
        assert cut.first.found["map"].square().mean() == found
        if recipe == "noise":
            assert torch.equal(found, wanted)
            assert torch.equal(*out)
    cut.first.aux_loss.backward()
    assert any(p.grad is not None for p in cut.first.conv.parameters())
    again = copy.deepcopy(surgeon.apply(net, recipe, input_size=SIZE)).eval()
    again(images())
    assert again.first.aux_loss is not cut.first.aux_loss


def test_the_last_of_several_calls_is_what_is_left():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.block = nn.Conv2d(3, 3, 1), Block()

        def forward(self, x):
            return self.block(x).mean((2, 3)) + self.block(self.stem(x)).mean((2, 3))

    net = Twice().eval()
    cut = surgeon.apply(net, "noise", input_size=SIZE).eval()
    net(images()), cut(images())
    assert torch.equal(net.block.aux_loss, cut.block.aux_loss)


def test_an_exported_program_leaves_nothing():
    cut = surgeon.apply(Leaving(), "noise", input_size=SIZE).eval()
    wanted = cut(images())
    program = torch.export.export(cut, (images(),))
    assert torch.allclose(program.module()(images()), wanted, atol=1e-6)


def test_a_list_that_grows_is_no_part_of_a_graph():
    class Collecting(Base):
        def __init__(self):
            super().__init__()
            self.losses = []

        def forward(self, x):
            h = self.features(x)
            self.losses.append(h.square().mean())
            return self.fc(h)

    net = Collecting().eval()
    cut = surgeon.apply(net, "noise", input_size=SIZE).eval()
    assert net.losses == cut.losses == []
    for _ in range(3):
        net(images()), cut(images())
    assert torch.equal(torch.stack(net.losses), torch.stack(cut.losses))
    assert len(cut.losses) == 3


# -- parameters that become others ------------------------------------------------------------------


class Prototypes(Base):
    def __init__(self, kept):
        super().__init__()
        self.prototypes = kept

    def forward(self, x):
        z = self.features(x)
        if isinstance(self.prototypes, nn.ParameterDict):
            return torch.stack([z @ p for p in self.prototypes.values()], 1)
        if isinstance(self.prototypes, nn.ParameterList):
            return torch.stack([z @ p for p in self.prototypes], 1)
        return torch.stack([z @ self.prototypes[i] for i in range(self.prototypes.shape[0])], 1)


def vectors(n):
    return torch.randn(n, 16, generator=torch.Generator().manual_seed(n))


GROWING = {
    "list": (
        lambda: nn.ParameterList(vectors(3).unbind()),
        lambda net: net.prototypes.append(nn.Parameter(vectors(1)[0])),
    ),
    "dict": (
        lambda: nn.ParameterDict({"a": vectors(1)[0]}),
        lambda net: net.prototypes.update({"b": nn.Parameter(vectors(2)[0])}),
    ),
    "another list": (
        lambda: nn.ParameterList(vectors(3).unbind()),
        lambda net: setattr(net, "prototypes", nn.ParameterList(vectors(5).unbind())),
    ),
    "longer": (
        lambda: nn.Parameter(vectors(3)),
        lambda net: setattr(net, "prototypes", nn.Parameter(vectors(5))),
    ),
    "as long": (
        lambda: nn.Parameter(vectors(3)),
        lambda net: setattr(net, "prototypes", nn.Parameter(vectors(3) * 2)),
    ),
}


@pytest.mark.parametrize("recipe", ["noise", *RECIPES])
@pytest.mark.parametrize("how", GROWING)
def test_parameters_that_are_added_or_exchanged_after_the_cut_count(how, recipe):
    make, change = GROWING[how]
    net = Prototypes(make())
    cut = surgeon.apply(net, recipe, input_size=SIZE)
    stock = copy.deepcopy(net)
    for network in (stock, cut):
        network.eval()(images())
        change(network)
    wanted, found = stock(images()), cut(images())
    assert found.shape == wanted.shape
    found.sum().backward()
    assert all(p.grad is not None for n, p in cut.named_parameters() if n.startswith("prototypes"))
    if recipe == "noise":
        assert torch.equal(wanted, found)
        assert torch.equal(copy.deepcopy(cut)(images()), found)


# -- arguments of other types -------------------------------------------------------------------------


class Crops(Base):
    def forward(self, x):
        if not isinstance(x, list):
            x = [x]
        return torch.cat([self.fc(self.features(v)) for v in x])


class Named(Base):
    def forward(self, x):
        return self.fc(self.features(x["image"] if isinstance(x, dict) else x))


@pytest.mark.parametrize("recipe", ["noise", *RECIPES])
@pytest.mark.parametrize(
    ("kind", "given", "named"),
    [(Crops, [images(), images()], "list"), (Named, {"image": images()}, "dict"), (Named, None, "NoneType")],
)
def test_an_argument_of_another_type_is_one_clear_error(kind, given, named, recipe):
    cut = surgeon.apply(kind(), recipe, input_size=SIZE)
    for training in (True, False):
        with pytest.raises(
            SurgeryError, match=rf"{kind.__name__}.forward was given x of type {named}, .*tensor"
        ):
            cut.train(training)(given)
    assert cut(images()).shape == (4, 5)


class Levels(nn.Module):
    """A part that takes a list, as a feature pyramid does, from code that cannot be followed."""

    def __init__(self):
        super().__init__()
        self.stem, self.merge = nn.Conv2d(3, 16, 3), Merge()

    def forward(self, x):
        h = self.stem(x)
        return self.merge([h, h * float(h.detach().mean() > 100)])


class Merge(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 1)

    def forward(self, maps):
        return self.conv(maps[0] + maps[1]).mean((2, 3))


def test_a_part_may_take_a_list():
    net = Levels().eval()
    cut = surgeon.apply(net, "noise", input_size=SIZE).eval()
    assert [e.site for e in cut.surgery.edits] == ["merge.conv"]
    assert torch.equal(net(images()), cut(images()))
