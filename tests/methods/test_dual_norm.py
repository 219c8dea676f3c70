"""Auxiliary batch norms: which norm normalises what, where gradients go, and that nothing of them is left in use."""

import copy

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SelectionError
from surgeon.methods.dual_norm import AuxiliaryNorm, has_auxiliary_norms
from surgeon.training import auxiliary_norms
from tests.reference import dual_norm as reference

SIZE = (3, 8, 8)
OP = {"op": "dual-norm"}


@pytest.fixture
def cut(tiny):
    return surgeon.apply(tiny, OP, input_size=SIZE)


def moved(network):
    """The network, with auxiliary tensors that differ from the main ones."""
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, AuxiliaryNorm):
                layer.weight.mul_(1.5), layer.bias.add_(0.2)
                layer.running_mean.add_(0.3), layer.running_var.mul_(0.5)
    return network


def test_clean_and_attacked_numbers_have_statistics_of_their_own():
    stock = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1)).double()
    nn.init.ones_(stock[0].weight)
    cut = surgeon.apply(stock, OP, input_size=(1, 2, 2)).train()
    main, other = reference.new(), reference.new()
    for step in range(3):
        clean = torch.randn(3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        attacked = 2 * clean + 0.5
        found = cut(clean)
        with auxiliary_norms(cut):
            theirs = cut(attacked)
        for output, state, numbers in ((found, main, clean), (theirs, other, attacked)):
            wanted = reference.normalized(state, numbers.flatten().tolist(), training=True)
            torch.testing.assert_close(output.flatten(), torch.tensor(wanted, dtype=torch.float64))
    norm = cut.get_submodule("1")
    for tensors, state in ((norm, main), (norm.auxiliary, other)):
        assert float(tensors.running_mean) == pytest.approx(state["mean"], abs=1e-12)
        assert float(tensors.running_var) == pytest.approx(state["var"], abs=1e-12)
        assert int(tensors.num_batches_tracked) == 3
    cut.eval()
    with auxiliary_norms(cut):
        found = cut(clean)
    wanted = reference.normalized(other, clean.flatten().tolist(), training=False)
    torch.testing.assert_close(found.flatten(), torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize("training", [True, False])
def test_outside_of_the_block_it_is_the_stock_network(tiny, cut, images, training):
    tiny.train(training), moved(cut).train(training)
    torch.manual_seed(3)
    wanted = tiny(images)
    torch.manual_seed(3)
    assert torch.equal(cut(images), wanted)
    with auxiliary_norms(cut):
        assert not torch.allclose(cut(images), wanted)
    with auxiliary_norms(cut), auxiliary_norms(cut):
        pass  # the inner block leaves the norms to the outer one
    assert not any(m.swapped for m in cut.modules() if isinstance(m, AuxiliaryNorm))


def test_within_it_the_norms_are_those_of_the_auxiliary_tensors(tiny, cut, images):
    moved(cut)
    other = copy.deepcopy(tiny)
    for name in ("bn1", "bn2"):
        other.get_submodule(name).load_state_dict(cut.get_submodule(f"{name}.auxiliary").state_dict())
    with torch.no_grad(), auxiliary_norms(cut):
        assert torch.equal(cut(images), other(images))


def test_gradients_go_to_the_norms_that_were_used_also_after_the_block(cut, images):
    cut.train()
    before = {k: v.clone() for k, v in cut.state_dict().items()}
    with auxiliary_norms(cut):
        loss = cut(images).square().sum()
    loss.backward()
    with_gradient = {n for n, p in cut.named_parameters() if p.grad is not None}
    assert {"bn1.auxiliary.weight", "bn2.auxiliary.bias", "conv1.weight"} <= with_gradient
    assert not {"bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias"} & with_gradient
    changed = {k for k, v in cut.state_dict().items() if not torch.equal(v, before[k])}
    parts = ("running_mean", "running_var", "num_batches_tracked")
    assert changed == {f"{n}.auxiliary.{part}" for n in ("bn1", "bn2") for part in parts}


def test_an_error_within_the_block_brings_the_norms_back(cut, images):
    wanted = moved(cut)(images)
    with pytest.raises(ZeroDivisionError), auxiliary_norms(cut):
        raise ZeroDivisionError
    assert torch.equal(cut(images), wanted)


@pytest.mark.filterwarnings("ignore:Tiny is of own code")
def test_auxiliary_norms_are_saved_and_nothing_of_them_folds_in(tiny, cut, images, tmp_path):
    moved(cut)
    surgeon.save(cut, tmp_path / "cut")
    loaded = surgeon.load(tmp_path / "cut", model=copy.deepcopy(tiny)).eval()
    with torch.no_grad(), auxiliary_norms(cut), auxiliary_norms(loaded):
        assert torch.equal(loaded(images), cut(images))
    for plain in (surgeon.fold(cut), surgeon.revert(cut)):
        assert type(plain) is type(tiny) and not has_auxiliary_norms(plain) and has_auxiliary_norms(cut)
        assert torch.equal(plain.eval()(images), tiny(images))


def test_norms_that_are_fused_with_an_activation_have_them_too():
    torch.manual_seed(0)
    stock = surgeon.create_model("mobilenetv2_100", num_classes=5, input_size=(3, 32, 32)).eval()
    cut = moved(surgeon.apply(stock, OP, input_size=(3, 32, 32)))
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(cut(x), stock(x))
        with auxiliary_norms(cut):
            assert not torch.allclose(cut(x), stock(x))


def test_norms_without_scale_or_statistics_and_frozen_ones():
    stock = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False), nn.BatchNorm2d(4, track_running_stats=False)
    )
    stock[2].weight.requires_grad_(False)
    cut = surgeon.apply(stock, OP, input_size=SIZE).train()
    assert not cut.get_submodule("2.auxiliary").weight.requires_grad
    x = torch.rand(4, *SIZE)
    with auxiliary_norms(cut):
        torch.testing.assert_close(cut(x), stock.train()(x))


def test_an_emptied_layer_is_as_a_new_norm():
    layer = moved(nn.Sequential(AuxiliaryNorm(nn.BatchNorm2d(3))))[0].to_empty(device="cpu")
    layer.reset_parameters()
    assert all(torch.equal(v, nn.BatchNorm2d(3).state_dict()[k]) for k, v in layer.state_dict().items())


def test_other_norms_are_passed_over():
    with pytest.raises(SelectionError, match="GroupNorm is no batch norm"):
        surgeon.plan(nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)), OP, input_size=SIZE)


def test_the_plan_says_what_a_plain_step_under_ddp_needs(tiny):
    notes = surgeon.plan(tiny, "advprop").notes
    assert [n.severity for n in notes if "find_unused_parameters=True" in n.text] == ["info"]
