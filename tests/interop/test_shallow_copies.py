"""`copy.copy` of a rewritten network gives what it gives of any module: another object on the same modules."""

import copy

import pytest
import torch
from torch import nn

import surgeon


@pytest.mark.parametrize("recipe", ["kap", "anl", "defective", "noise", "wm-unsharp"])
def test_a_shallow_copy_follows_the_network(cut, batch, recipe):
    model = cut(recipe).eval()
    shallow = copy.copy(model)
    assert shallow is not model and shallow.fc is model.fc
    changed = {k: v * 0.99 if v.is_floating_point() else v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(changed, assign=True)
    assert torch.equal(shallow(batch[0]), model(batch[0]))
    model.fc = nn.Linear(model.fc.in_features, 3)
    outputs = model(batch[0])
    assert outputs.shape[1] == 3 and torch.equal(shallow(batch[0]), outputs)
    shallow.train()
    assert not model.training and model.fc.training
    shallow.eval()
    assert torch.equal(surgeon.revert(shallow).eval()(batch[0]), surgeon.revert(model).eval()(batch[0]))
    assert torch.equal(model(batch[0]), outputs) and torch.equal(shallow(batch[0]), outputs)
