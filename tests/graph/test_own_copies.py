"""Stock classes that say themselves what a copy, a pickle or a state dict of them holds."""

import copy
import io
import threading

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError
from tests.own_models.checks import SIZE, Plain, images


class Locked(Plain):
    """Has what nothing can copy, and leaves it out."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def __getstate__(self):
        state = self.__dict__.copy()
        del state["lock"]
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        self.lock = threading.Lock()


class CopiesItself(Plain):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def __deepcopy__(self, memo):
        new = object.__new__(type(self))
        own = {k: v for k, v in self.__dict__.items() if k != "lock"}
        new.__dict__.update(copy.deepcopy(own, memo), lock=threading.Lock())
        return new


class MadeAnew(Plain):
    """A copy of it is a new one with its tensors."""

    def __deepcopy__(self, memo):
        new = MadeAnew()
        new.load_state_dict(self.state_dict(), strict=False)
        return new.train(self.training)


class Nested(Plain):
    """Its state dict has a level more than torch's."""

    def state_dict(self, *args, **kwargs):
        return {"net": super().state_dict(*args, **kwargs)}

    def load_state_dict(self, state, *args, **kwargs):
        return super().load_state_dict(state["net"], *args, **kwargs)


def cut(kind, recipe="kap"):
    torch.manual_seed(0)
    return surgeon.apply(kind().eval(), recipe, input_size=SIZE)


def read(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("kind", [Locked, CopiesItself])
def test_a_copy_is_made_as_the_stock_class_makes_it(kind):
    model = cut(kind)
    for new in (copy.deepcopy(model), surgeon.fold(model), torch.optim.swa_utils.AveragedModel(model).module):
        torch.testing.assert_close(new(images()), model(images()))
        assert new.lock is not model.lock
        assert new.conv.weight is not model.conv.weight
    assert isinstance(surgeon.revert(model), kind)


def test_a_pickle_holds_what_the_stock_class_says():
    model = cut(Locked)
    new = read(model)
    torch.testing.assert_close(new(images()), model(images()))
    assert new.lock is not model.lock
    assert new.surgery == model.surgery


def test_a_copy_that_loses_the_layers_is_refused():
    with pytest.raises(SurgeryError, match="copies itself in a way of its own"):
        copy.deepcopy(cut(MadeAnew))


def test_a_state_dict_of_another_form():
    model = cut(Nested)
    state = model.state_dict()
    assert list(state) == ["net"]
    model.load_state_dict(state)
    folded = surgeon.fold(model)
    torch.testing.assert_close(folded(images()), model(images()))
    assert isinstance(surgeon.revert(model), nn.Module)
