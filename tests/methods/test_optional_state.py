"""State that a checkpoint may lack as a whole, but not in part."""

import pytest
import torch
from torch import nn

from surgeon.tensors.optional_state import OptionalState


class Two(OptionalState):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(2))
        self.register_buffer("shift", torch.zeros(2))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)


def test_all_missing_keeps_what_is_there():
    model = nn.Sequential(nn.Linear(1, 1), Two())
    model[1].gain.data.fill_(5)
    report = model.load_state_dict({"0.weight": torch.ones(1, 1), "0.bias": torch.ones(1)}, strict=True)
    assert not report.missing_keys and (model[1].gain == 5).all() and (model[0].weight == 1).all()


def test_a_part_missing_or_a_foreign_key_is_an_error():
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"shift\""):
        Two().load_state_dict({"gain": torch.ones(2)})
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"scratch\""):
        Two().load_state_dict({"scratch": torch.ones(2)})


def test_its_children_stay_strict():
    parent = Two()
    parent.child = nn.Linear(1, 1)
    with pytest.raises(RuntimeError, match=r"Missing key.*child.weight"):
        parent.load_state_dict({})
