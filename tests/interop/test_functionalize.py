"""`torch.func.functionalize`, which has no rule for an autograd.Function: layers use plain operations there."""

import pytest
import torch
from torch.func import functionalize, grad

from surgeon.tensors.recording import recording


@pytest.mark.parametrize("recipe", ["wm-unsharp", "defective", "kap", "anl"])
def test_a_network_is_functionalised_also_with_its_gradients(cut, batch, recipe):
    model, images = cut(recipe).eval(), batch[0]
    torch.testing.assert_close(functionalize(model)(images), model(images))

    def total(x):
        return model(x).pow(2).sum()

    wanted = grad(total)(images)
    for found in (functionalize(grad(total))(images), grad(functionalize(total))(images)):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert not recording()
