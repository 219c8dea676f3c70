"""How modules hang together: nested, shared, called again, under two names, in loops, with parents they know."""

import pytest
import torch
from torch import nn

import surgeon
from tests.own_models.checks import KAP, SIZE, Plain, images, out, works


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3, padding=1)
        self.inner = nn.Sequential(nn.BatchNorm2d(16), nn.Sequential(nn.ReLU(), nn.Conv2d(16, 16, 1)))

    def forward(self, x):
        return x + self.inner(self.conv(x))


class Nested(Plain):
    def __init__(self):
        super().__init__(nn.Sequential(Block(), Block()))


class Twice(Plain):
    def features(self, x):
        return self.conv2(super().features(x).relu())


class SharedBlock(Nested):
    def __init__(self):
        super().__init__()
        self.conv2[1] = self.conv2[0]


class Alias(Plain):
    """Calls one module under two names."""

    def __init__(self):
        super().__init__()
        self.other = self.conv2

    def features(self, x):
        return self.other(super().features(x).relu())


class UnusedAlias(Plain):
    def __init__(self):
        super().__init__()
        self.other = self.conv2


class Tied(Plain):
    def __init__(self):
        super().__init__()
        self.conv3 = nn.Conv2d(16, 16, 3, padding=1)
        self.conv3.weight = self.conv2.weight

    def features(self, x):
        return self.conv3(super().features(x).relu())


class Loop(nn.Module):
    """Loops over a ModuleList and a ModuleDict, with a condition on its configuration."""

    def __init__(self, skip=1):
        super().__init__()
        self.skip = skip
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(3))
        self.norms = nn.ModuleDict({str(i): nn.BatchNorm2d(16) for i in range(3)})
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x)
        for i, conv in enumerate(self.convs):
            if i == self.skip:
                continue
            x = x + self.norms[str(i)](conv(x)).relu()
        return self.head(x.mean((2, 3)))


class Knowing(nn.Module):
    """A part that reads its parent."""

    def __init__(self, parent):
        super().__init__()
        self.__dict__["parent"] = parent
        self.conv = nn.Conv2d(16, 16, 1)

    def forward(self, x):
        return self.conv(x) * self.parent.factor


class Circular(Plain):
    def __init__(self):
        super().__init__()
        self.factor = 2.0
        self.conv2 = Knowing(self)
        self.__dict__["me"] = self
        self.mine = [self.conv]


class Attributes(Plain):
    """A property over a buffer, a buffer that is not saved, plain data, and a __getattr__ of its own."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor(2.0))
        self.register_buffer("shift", torch.tensor(0.5), persistent=False)
        self.settings = {"depth": [1]}

    @property
    def double(self):
        return self.scale * 2

    def __getattr__(self, name):
        return 3.0 if name == "magic" else super().__getattr__(name)

    def forward(self, x):
        return super().forward(x) * self.double * self.magic + self.shift


@pytest.mark.parametrize(
    ("make", "sites"),
    [
        (Plain, ["conv", "conv2"]),
        (Nested, ["conv", *(f"conv2.{i}.{n}" for i in (0, 1) for n in ("conv", "inner.1.1"))]),
        (SharedBlock, ["conv", "conv2.0.conv", "conv2.0.inner.1.1"]),
        (Twice, ["conv", "conv2"]),
        (Alias, ["conv", "conv2"]),
        (UnusedAlias, ["conv", "conv2"]),
        (Loop, ["stem", "convs.0", "convs.2"]),
        (lambda: Loop(skip=-1), ["stem", "convs.0", "convs.1", "convs.2"]),
        (Circular, ["conv", "conv2.conv"]),
        (Attributes, ["conv", "conv2"]),
    ],
)
def test_it_is_cut_folded_reverted_and_saved(make, sites, tmp_path):
    works(make(), tmp_path, sites=sites)


def test_a_module_under_two_names_is_cut_under_both(tmp_path):
    model = Alias().eval()
    cut = surgeon.apply(model, KAP, input_size=SIZE).eval()
    assert [n.target for n in cut.graph.nodes if n.op == "call_module"].count("conv2.kap") == 2
    for network in (cut, surgeon.fold(cut), surgeon.revert(cut)):
        assert network.other is network.conv2
    assert len(list(cut.parameters())) == len(list(model.parameters()))
    twice = Twice().eval()
    twice.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("other")})
    x = images()
    assert torch.equal(out(surgeon.apply(twice, KAP, input_size=SIZE).eval(), x), out(cut, x))


def test_weights_that_two_modules_share_stay_shared_and_are_not_folded_apart():
    model = Tied().eval()
    cut = surgeon.apply(model, KAP, input_size=SIZE)
    assert cut.conv3.weight is cut.conv2.weight
    with pytest.raises(
        surgeon.SurgeonError, match=r"2 of 3 edits do not fold: .*it shares its weight with conv2"
    ):
        surgeon.fold(cut)
    x = images()
    assert torch.equal(out(surgeon.revert(cut), x), out(model, x))


def test_a_part_that_knows_its_parent_does_not_keep_the_original():
    model = Circular().eval()
    cut = surgeon.apply(model, KAP, input_size=SIZE)
    assert cut.conv2.parent is not model
    assert surgeon.revert(cut).conv2.parent.factor == 2.0


def test_a_network_without_convolutions_has_no_place_for_kap():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 5))
    with pytest.raises(
        surgeon.SurgeonError, match=r"the model has no conv site \(it has: activation, input, linear\)"
    ):
        surgeon.apply(model, "kap", input_size=SIZE)
    cut = surgeon.apply(model, "input-noise", input_size=SIZE).eval()
    assert torch.equal(out(cut, images()), out(model, images()))
