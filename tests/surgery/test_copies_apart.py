"""A network of which a copy is not apart is refused before anything is run or changed."""

import copy
import functools

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError
from tests.surgery.copies import SIZE, Net, conv, images, noted, same


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = conv(3), nn.BatchNorm2d(16)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Itself(Encoder):
    def __deepcopy__(self, memo):
        return self


class SharesAll(Encoder):
    """Another object on the same children."""

    def __deepcopy__(self, memo):
        return copy.copy(self)


class SharesWeight(Encoder):
    def __deepcopy__(self, memo):
        new = SharesWeight()
        new.load_state_dict(self.state_dict())
        new.conv.weight = self.conv.weight
        return new.train(self.training)


class SharesMemory(Encoder):
    def __deepcopy__(self, memo):
        new = SharesMemory()
        new.load_state_dict(self.state_dict())
        new.bn.running_mean = self.bn.running_mean[:]
        return new.train(self.training)


class KeepsOneChild(Encoder):
    def __deepcopy__(self, memo):
        new = KeepsOneChild()
        new.load_state_dict(self.state_dict())
        new.bn = self.bn
        return new.train(self.training)


class OneObject(Encoder):
    made = None

    def __new__(cls, *args, **kwargs):
        if cls.made is None:
            cls.made = super().__new__(cls)
        return cls.made


class ByReduce(Encoder):
    def __reduce__(self):
        return (lambda: self), ()


class Held(nn.Parameter):
    def __deepcopy__(self, memo):
        return self


class OfHeld(Encoder):
    def __init__(self):
        super().__init__()
        self.conv.bias = Held(torch.zeros(16))


SHARING = {
    Itself: "enc:",
    SharesAll: "enc.conv:",
    SharesWeight: "enc.conv:",
    SharesMemory: "enc.bn:",
    KeepsOneChild: "enc.bn:",
    OneObject: "enc:",
    ByReduce: "enc:",
    OfHeld: "enc.conv:",
}


@pytest.mark.parametrize(
    "work",
    [
        surgeon.sites,
        *(
            functools.partial(do, recipe=recipe)
            for do in (surgeon.plan, surgeon.apply)
            for recipe in ("noise", "kap", "anl")
        ),
    ],
)
@pytest.mark.parametrize("kind", SHARING)
@pytest.mark.parametrize("training", [False, True])
def test_a_module_that_its_copy_shares_is_refused_and_left_alone(kind, work, training):
    OneObject.made = None
    torch.manual_seed(0)
    net = Net(kind()).train(training)
    before, gave = noted(net), net.eval()(images())
    net.train(training)
    with pytest.raises(SurgeryError, match=f"^{SHARING[kind]} a copy of this .* would change the network"):
        work(net, input_size=SIZE)
    same(before, net)
    assert torch.equal(net.eval()(images()), gave)


@pytest.mark.parametrize("kind", [Itself, SharesWeight, OneObject])
def test_a_network_that_its_copy_shares_is_refused(kind):
    OneObject.made = None

    class Root(kind):
        def forward(self, x):
            return super().forward(x).mean((2, 3))

    net = Root().eval()
    before = noted(net)
    with pytest.raises(SurgeryError, match=r"^(the network|conv): a copy of this"):
        surgeon.plan(net, "noise", input_size=SIZE)
    same(before, net)


class FrozenCopied(Encoder):
    def __deepcopy__(self, memo):
        new = object.__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new


class MadeByArguments(Encoder):
    """`__new__` alone says nothing of copies."""

    def __new__(cls, width):
        return super().__new__(cls)

    def __init__(self, width):
        super().__init__()


class Tied(Encoder):
    def __init__(self):
        super().__init__()
        self.again = conv(3)
        self.again.weight = self.conv.weight
        self.same = self.bn
        self.cache = None

    def forward(self, x):
        return super().forward(x) + self.same(self.again(x))


def leftover():
    """An activation of the last pass, with its history."""
    made = FrozenCopied()
    made.last = made.conv(images())
    return made


@pytest.mark.parametrize(
    "make",
    [FrozenCopied, lambda: FrozenCopied().requires_grad_(False), lambda: MadeByArguments(3), Tied, leftover],
)
def test_a_module_that_is_copied_is_cut(make):
    net = Net(make()).eval()
    before = noted(net)
    cut = surgeon.apply(net, "noise", input_size=SIZE)
    same(before, net)
    torch.testing.assert_close(surgeon.revert(cut)(images()), net(images()))


# -- slots --------------------------------------------------------------------------------------------


class WithSlots(nn.Module):
    __slots__ = ("gain",)

    def __init__(self):
        super().__init__()
        self.conv, self.gain = conv(3), 3.0

    def forward(self, x):
        return self.conv(x).mean((2, 3)) * self.gain


class AroundSlots(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([WithSlots()])

    def forward(self, x):
        return self.blocks[0](x)


@pytest.mark.parametrize("undo", [surgeon.fold, surgeon.revert, copy.deepcopy])
@pytest.mark.parametrize("kind", [WithSlots, AroundSlots])
def test_blocks_keep_their_slots(undo, kind):
    net = kind().eval()
    cut = surgeon.apply(net, "noise", input_size=SIZE)
    back = undo(cut)
    assert (back if kind is WithSlots else back.blocks[0]).gain == 3.0
    torch.testing.assert_close(back(images()), cut(images()))
