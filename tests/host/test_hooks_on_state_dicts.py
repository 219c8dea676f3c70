"""A hook that leaves tensors out of a network's state dict: what is saved lacks them, and both doors say which."""

import re
import warnings

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import ArtifactError, ArtifactWarning, SurgeryWarning


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


def doubled(module, state, prefix, meta):
    state[f"{prefix}weight"] = state[f"{prefix}weight"] * 2


def halved(module, state, prefix, *rest):
    state[f"{prefix}weight"] = state[f"{prefix}weight"] / 2


def rounded(module, state, prefix, meta):
    for key in [k for k in state if k.startswith(prefix) and state[k].is_floating_point()]:
        state[key] = state[key].half()


class Packed(nn.Conv2d):
    """Its own code saves its weight in another form, and reads that."""

    def _save_to_state_dict(self, state, prefix, keep_vars):
        super()._save_to_state_dict(state, prefix, keep_vars)
        state[f"{prefix}weight"] = state[f"{prefix}weight"] * 2

    def _load_from_state_dict(self, state, prefix, *rest):
        state = {**state, f"{prefix}weight": state[f"{prefix}weight"] / 2}
        super()._load_from_state_dict(state, prefix, *rest)


def values_told(model, folder):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        surgeon.save(model, folder)
    return [str(w.message) for w in said if "holds other values of" in str(w.message)]


@pytest.mark.parametrize(
    "hook, named", [(doubled, r"3\.weight than"), (rounded, r"3\.weight \(and 1 more\) than")]
)
@pytest.mark.parametrize("recipe", ["kap", "anl", "defective", None])
def test_values_that_a_hook_changes_are_named_when_a_network_is_saved(recipe, hook, named, tmp_path):
    model = surgeon.apply(network(), recipe, input_size=(3, 8, 8)) if recipe else network()
    assert not values_told(model, tmp_path / "plain")
    model.get_submodule("3").register_state_dict_post_hook(hook)
    (text,) = values_told(model, tmp_path / "saved")
    assert re.search(f"other values of {named}", text) and "take such hooks off" in text


def test_values_that_a_hook_of_this_network_alone_puts_back_are_named(tmp_path):
    def paired():
        made = network()
        made[3].register_state_dict_post_hook(doubled)
        made[3].register_load_state_dict_pre_hook(halved)
        return made.eval()

    model = surgeon.apply(paired(), "noise", input_size=(3, 8, 8)).eval()
    (text,) = values_told(model, tmp_path / "saved")
    assert "without a hook that changes them back" in text
    x = torch.randn(2, 3, 8, 8)
    for made, same in ((paired(), True), (network(), False)):
        torch.manual_seed(0)
        wanted = surgeon.revert(model)(x)
        again = surgeon.revert(surgeon.load(tmp_path / "saved", model=made))(x)
        assert torch.allclose(again, wanted) == same


def test_values_that_rest_while_another_module_stands_there_are_named(tmp_path):
    stock = network()
    stock[3].register_state_dict_post_hook(doubled)
    with pytest.warns(SurgeryWarning, match="rest with it"):
        model = surgeon.apply(stock, "wm-unsharp", input_size=(3, 8, 8))
    (text,) = values_told(model, tmp_path / "saved")
    assert "other values of 3.weight, as revert restores it, than" in text


def test_code_that_packs_and_unpacks_its_values_changes_none(tmp_path):
    stock = network()
    stock[3] = Packed(9, 16, 3)
    stock[1].running_mean[0] = float("nan")
    assert not values_told(stock, tmp_path / "saved")
