"""A hook that leaves tensors out of a network's state dict: what is saved lacks them, and both doors say which."""

import warnings

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import ArtifactError, ArtifactWarning


def network():
    return nn.Sequential(nn.Conv2d(3, 9, 3), nn.BatchNorm2d(9), nn.ReLU(), nn.Conv2d(9, 16, 3))


def without_weight(module, state, prefix, meta):
    del state[f"{prefix}weight"]


def hidden():
    made = network()
    made[3].register_state_dict_post_hook(without_weight)
    return made


def renamed():
    made = network()

    def saved(module, state, prefix, meta):
        state[f"{prefix}kernel"] = state.pop(f"{prefix}weight")

    def read(module, state, prefix, *rest):
        state[f"{prefix}weight"] = state.pop(f"{prefix}kernel")

    made[3].register_state_dict_post_hook(saved)
    made[3].register_load_state_dict_pre_hook(read)
    return made


@pytest.mark.parametrize("cut", [True, False])
def test_what_a_hook_leaves_out_is_named_at_saving_and_at_loading(tmp_path, cut):
    model = surgeon.apply(hidden(), "kap", input_size=(3, 8, 8)) if cut else hidden()
    with pytest.warns(ArtifactWarning, match=r"does not hold 3\.weight: the network's state dict is without"):
        surgeon.save(model, tmp_path / "saved")
    with pytest.raises(ArtifactError, match=r"saved.* a hook leaves 3\.weight out of its state dict"):
        surgeon.load(tmp_path / "saved", model=hidden())


def test_another_name_or_no_hook_is_no_loss(tmp_path):
    for number, make in enumerate((renamed, network)):
        model = surgeon.apply(make(), "kap", input_size=(3, 8, 8)).eval()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            surgeon.save(model, tmp_path / str(number))
        assert not [w for w in said if "does not hold" in str(w.message)]
        x = torch.randn(2, 3, 8, 8)
        assert torch.equal(surgeon.load(tmp_path / str(number), model=make())(x), model(x))
