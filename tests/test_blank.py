"""Networks made without drawing their weights."""

import timm
import torch
from torch import nn

import surgeon
from surgeon.store.blank import Blank


def test_nothing_is_drawn_for_parameters_and_all_else_is_computed():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with Blank():
        model = timm.create_model("resnet18")
        vit = timm.create_model("vit_tiny_patch16_224")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model.bn1.weight, torch.ones(64))
    assert torch.equal(model.bn1.running_var, torch.ones(64))
    assert vit.pos_embed.shape == (1, 197, 192)


def test_buffers_are_drawn_as_ever():
    class Projected(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("directions", torch.empty(4).normal_(), persistent=False)
            self.weight = nn.Parameter(torch.empty(4))
            nn.init.normal_(self.weight)

    torch.manual_seed(0)
    plain = Projected()
    torch.manual_seed(0)
    with Blank():
        blank = Projected()
    assert torch.equal(blank.directions, plain.directions)


def test_a_loaded_network_is_the_saved_one_and_loading_draws_nothing(tmp_path):
    saved = surgeon.apply(surgeon.create_model("resnet18"), "anl", input_size=(3, 64, 64))
    surgeon.save(saved, tmp_path / "a")
    torch.manual_seed(0)
    found = surgeon.load(tmp_path / "a").state_dict()
    assert all(torch.equal(v, found[k]) for k, v in saved.state_dict().items())
