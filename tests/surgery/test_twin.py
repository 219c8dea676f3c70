"""`twin` gives what `copy.deepcopy` gives: the same values, the same sharing, nothing that changes held in common."""

import copy

import pytest
import timm
import torch
from torch import nn

from surgeon.graph.trees.twin import _is_plain, twin

UNCHANGING = (type(None), bool, int, float, complex, str, bytes, type, torch.dtype, torch.device, torch.Size)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LSTM(4, 4), nn.BatchNorm2d(4))
        self.again = self.inner[0]
        self.tied = nn.Parameter(self.again.weight.detach().clone())
        self.head = nn.Linear(4, 2)
        self.head.weight = self.inner[1].weight_hh_l0
        self.listed, self.empty, self.both = [self.head], [], {}
        self.same = self.both
        self.nothing = None
        self.register_buffer("gone", torch.ones(2), persistent=False)


class Counted(nn.Linear):
    def __deepcopy__(self, memo):
        memo[id(self)] = new = nn.Linear(2, 2)
        return new


def shape_of(value, numbers):
    """The value as data in which equal numbers stand for one object."""
    if isinstance(value, UNCHANGING):
        return value
    if isinstance(value, torch.Tensor):
        return (
            "tensor",
            numbers.setdefault(id(value), len(numbers)),
            tuple(value.shape),
            float(value.double().sum()),
        )
    if id(value) in numbers:
        return ("seen", numbers[id(value)])
    if isinstance(value, (dict, list, tuple, set, nn.Module)):
        if not isinstance(value, tuple):
            numbers[id(value)] = len(numbers)
        inner = value.__dict__ if isinstance(value, nn.Module) else value
        if isinstance(inner, dict):
            return (type(value), [(k, shape_of(v, numbers)) for k, v in inner.items()])
        return (type(value), [shape_of(v, numbers) for v in inner])
    return type(value)


def held(module):
    return {id(m) for m in module.modules()} | {
        id(v) for m in module.modules() for v in m.__dict__.values() if isinstance(v, (dict, list, set))
    }


MADE = [
    Own,
    *(
        lambda n=n: timm.create_model(n)
        for n in ("test_resnet", "test_vit", "test_efficientnet", "test_mambaout")
    ),
]


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("make", MADE)
def test_a_twin_is_a_deep_copy(make, share):
    model = make()
    memo = {id(t): t for t in (*model.parameters(), *model.buffers())} if share else {}
    found, wanted = twin(model, dict(memo)), copy.deepcopy(model, dict(memo))
    assert shape_of(found, {}) == shape_of(wanted, {})
    assert not held(found) & held(model)
    kept = {t.data_ptr() for t in (*model.parameters(), *model.buffers()) if t.numel()}
    own = {t.data_ptr() for t in (*found.parameters(), *found.buffers()) if t.numel()}
    assert own == kept if share else not own & kept


def test_what_a_class_says_of_its_copies_is_heard():
    found = twin(nn.Sequential(Counted(3, 3), nn.ReLU()), {})
    assert type(found[0]) is nn.Linear and found[0].in_features == 2
    assert not _is_plain(Counted(3, 3)) and not _is_plain(nn.LSTM(2, 2)) and _is_plain(nn.Conv2d(2, 2, 1))
