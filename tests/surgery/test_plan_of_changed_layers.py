"""A plan is carried out on the network that it was made for: not on other layers of the same weights."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.edits import Plan
from surgeon.errors import SurgeryError

SIZE = (3, 16, 16)


def network():
    torch.manual_seed(0)
    convs = (nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1))
    return nn.Sequential(
        convs[0], nn.ReLU(), convs[1], nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m[2], "stride", (2, 2)),
        lambda m: setattr(m[2], "padding_mode", "circular"),
        lambda m: m.__setitem__(1, nn.Tanh()),
    ],
)
def test_a_changed_layer_needs_a_new_plan(change):
    model = network()
    plan = surgeon.plan(model, "kap", input_size=SIZE)
    plan = Plan.model_validate_json(plan.model_dump_json())
    surgeon.apply(network(), plan)
    model[0].weight.data.mul_(2)  # weights may change between the two
    model.train()
    surgeon.apply(model, plan)
    change(model)
    with pytest.raises(SurgeryError, match=r"other layers, or with other settings of them.*make it anew"):
        surgeon.apply(model, plan)
    surgeon.apply(model, surgeon.plan(model, "kap", input_size=SIZE))
