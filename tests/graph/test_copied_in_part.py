"""Classes that copy or pickle themselves in a way of their own, around blocks that keep something in slots."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError, SurgeryWarning

SIZE = (3, 12, 12)


class Block(nn.Module):
    __slots__ = ("scale",)

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.scale = nn.Conv2d(9, 9, 3), nn.BatchNorm2d(9), 2.0

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x))) * self.scale


class Deep(Block):
    """What its dict holds is copied, and what is in slots is not."""

    __slots__ = ()

    def __deepcopy__(self, memo):
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new


class Anew(Block):
    """A copy is a new one with its weights."""

    __slots__ = ()

    def __deepcopy__(self, memo):
        new = type(self)()
        new.load_state_dict(self.state_dict())
        return new.train(self.training)


class Reduced(Block):
    """So is a pickle."""

    __slots__ = ()

    def __reduce__(self):
        return type(self), (), {"weights": self.state_dict(), "training": self.training}

    def __setstate__(self, state):
        self.load_state_dict(state["weights"], strict=False)
        self.train(state["training"])


class Net(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.first, self.block, self.fc = nn.Conv2d(3, 9, 3), block, nn.Linear(9, 8)

    def forward(self, x):
        return self.fc(self.block(torch.relu(self.first(x))).mean((2, 3)))


def network_of(kind):
    torch.manual_seed(0)
    return Net(kind()).eval()


def test_a_slot_that_a_copy_loses_is_named():
    with pytest.warns(SurgeryWarning, match=r"block is copied by Deep\.__deepcopy__.*block\.scale is gone"):
        with pytest.raises(SurgeryError, match="does not run"):
            surgeon.apply(network_of(Deep), "kap", input_size=SIZE)


@pytest.mark.parametrize("kind", [Anew, Reduced])
def test_an_attribute_that_a_copy_has_otherwise_is_named(kind):
    stock = network_of(kind)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        surgeon.apply(stock, "noise", input_size=SIZE)
    assert not [w for w in said if "is copied by" in str(w.message)]
    stock.block.scale = 3.0
    with pytest.warns(SurgeryWarning, match=r"in which block\.scale is 2\.0 in place of 3\.0"):
        surgeon.apply(stock, "noise", input_size=SIZE)


@pytest.mark.parametrize("work", [copy.deepcopy, copy.copy, surgeon.fold, surgeon.revert])
@pytest.mark.parametrize("recipe", ["noise", "kap"])
@pytest.mark.parametrize("kind", [Anew, Reduced])
def test_a_copy_that_loses_layers_of_a_block_or_fails_with_them_is_refused(kind, recipe, work):
    cut = surgeon.apply(network_of(kind), recipe, input_size=SIZE)
    if work is copy.copy:  # on the same modules
        assert work(cut)(torch.zeros(1, *SIZE)).shape == (1, 8)
        return
    with pytest.raises(SurgeryError, match=rf"{kind.__name__} copies itself in a way of its own"):
        work(cut)


def test_a_pickle_that_loses_layers_of_a_block_says_so_when_it_is_read():
    cut = surgeon.apply(network_of(Reduced), "noise", input_size=SIZE)
    with pytest.raises(SurgeryError, match=r"without block\.conv\.noise: Reduced pickles itself"):
        pickle.loads(pickle.dumps(cut))


class Root(Net):
    """It says itself what a pickle of it holds, and copies its slots as the block has them."""

    def __getstate__(self):
        return dict(self.__dict__)

    def __deepcopy__(self, memo):
        new = Net.__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        new.block.scale = self.block.scale
        return new


@pytest.mark.parametrize("kind", [Net, Root])
def test_a_pickle_that_loses_a_slot_names_it_and_what_fails_without(kind):
    torch.manual_seed(0)
    cut = surgeon.apply(kind(Block()).eval(), "noise", input_size=SIZE)
    with pytest.raises(
        SurgeryError, match=r"without block\.scale of Block, a slot.*__getstate__.*surgeon\.save"
    ) as error:
        pickle.loads(pickle.dumps(cut))
    assert "block, which holds it, cannot be traced (AttributeError: 'Block' object has no attribute" in str(
        error.value.__cause__
    )
