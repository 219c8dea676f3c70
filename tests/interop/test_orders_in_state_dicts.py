"""Weights of a `kap` network load into any cut of the same recipe: whether layers have an order of channels hangs on
the weights at the cut, and an order comes and goes with the state dict."""

import copy
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import surgeon
from surgeon.errors import ArtifactError, SurgeryWarning
from surgeon.methods.kap import KernelAveragePool

SIZE = (3, 8, 8)


def fresh():
    return nn.Sequential(
        nn.Conv2d(3, 9, 3, padding=1),
        nn.BatchNorm2d(9),
        nn.ReLU(),
        nn.Conv2d(9, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


def cut(trained):
    network = fresh()
    if trained:
        network.train()(torch.randn(8, *SIZE))
    return surgeon.apply(network, "kap", input_size=SIZE).eval()


def orders(model):
    return [m.order for m in model.modules() if isinstance(m, KernelAveragePool)]


@pytest.fixture
def x():
    return torch.randn(2, *SIZE)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("door", ["load_state_dict", "assign", "load_weights", "safetensors"])
@pytest.mark.parametrize("trained", [True, False], ids=["with an order", "without"])
def test_weights_of_one_cut_load_into_a_cut_of_other_weights(trained, door, strict, x, tmp_path):
    one, other = cut(trained), cut(not trained)
    assert [o is None for o in orders(one)] == [not trained] * 2 == [o is not None for o in orders(other)]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", SurgeryWarning)
        if door == "load_weights":
            torch.save(one.state_dict(), tmp_path / "w.pth")
            surgeon.load_weights(other, tmp_path / "w.pth", strict=strict)
        elif door == "safetensors":
            from safetensors.torch import save_file

            save_file(one.state_dict(), tmp_path / "w.safetensors")
            surgeon.load_weights(other, tmp_path / "w.safetensors", strict=strict)
        else:
            other.load_state_dict(copy.deepcopy(one.state_dict()), strict=strict, assign=door == "assign")
    assert torch.equal(other(x), one(x)) and other.state_dict().keys() == one.state_dict().keys()
    for layer, same in zip(orders(other), orders(one), strict=True):
        assert layer is same is None or torch.equal(layer, same)
    assert bool(said) == (not trained) and all("order='given'" in str(w.message) for w in said)


@pytest.mark.parametrize("trained", [True, False])
def test_what_took_other_weights_is_saved_loaded_folded_and_copied(trained, x, tmp_path):
    one, other = cut(trained), cut(not trained)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SurgeryWarning)
        other.load_state_dict(one.state_dict())
        surgeon.save(other, tmp_path / "saved")
        back = surgeon.load(tmp_path / "saved", model=fresh())
    assert torch.equal(back(x), one(x)) and torch.equal(copy.deepcopy(other)(x), one(x))
    torch.testing.assert_close(surgeon.fold(other)(x), one(x))


def test_weights_without_layers_keep_the_order_that_a_layer_has(x):
    model, stock = cut(True), fresh()
    kept = [o.clone() for o in orders(model)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", SurgeryWarning)
        model.load_state_dict(stock.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(kept, orders(model), strict=True))


def test_an_order_that_a_layer_cannot_have_is_refused_in_words(tmp_path):
    strided = KernelAveragePool(16, 3, 3)
    state = {"alpha": torch.ones(()), "order": torch.arange(16)}
    with pytest.raises(RuntimeError, match="order: .*is no order for a layer that pools 16 channels to 4"):
        strided.load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"float32 of shape \(16,\) is no order"):
        KernelAveragePool(16).load_state_dict(state | {"order": torch.rand(16)}, strict=False)
    with pytest.raises(RuntimeError, match="not a permutation"):
        KernelAveragePool(16).load_state_dict(state | {"order": torch.zeros(16, dtype=torch.int64)})
    network = nn.Sequential(KernelAveragePool(16))
    torch.save({"0.alpha": torch.ones(()), "0.order": torch.arange(9)}, tmp_path / "w.pth")
    with pytest.raises(ArtifactError, match=r"1 unexpected: 0\.order"):
        surgeon.load_weights(network, tmp_path / "w.pth")


def test_a_layer_on_the_meta_device_takes_an_order():
    one = KernelAveragePool(16, order=torch.arange(15, -1, -1))
    other = KernelAveragePool(16).to("meta")
    other.load_state_dict(one.state_dict(), assign=True)
    x = torch.randn(2, 16, 3, 3)
    assert torch.equal(other(x), one(x))
    emptied = KernelAveragePool(16, order=torch.arange(16)).to("meta").to_empty(device="cpu")
    with pytest.warns(SurgeryWarning, match="row by row"):
        emptied.load_state_dict(KernelAveragePool(16).state_dict())
    assert torch.equal(emptied(x), KernelAveragePool(16)(x))


def test_a_compiled_layer_follows_the_order_that_is_loaded():
    one, other = KernelAveragePool(16, order=torch.arange(15, -1, -1)), KernelAveragePool(16)
    x = torch.randn(2, 16, 3, 3)
    compiled = torch.compile(other, backend="eager")
    compiled(x)
    other.load_state_dict(one.state_dict())
    assert torch.allclose(compiled(x), one(x), rtol=1e-5, atol=1e-6)


def test_weights_of_a_cut_in_fewer_layers_are_told():
    def depthwise():
        return nn.Sequential(
            nn.Conv2d(3, 16, 3),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, groups=16),
            nn.BatchNorm2d(16),
        )

    trained = depthwise()
    trained.train()(torch.randn(8, *SIZE))
    fewer = surgeon.apply(
        trained, "kap", input_size=SIZE
    )  # a depthwise one is pooled in fresh networks alone
    more = surgeon.apply(depthwise(), "kap", input_size=SIZE)
    with pytest.warns(SurgeryWarning, match=r"tensors of kap at 0, and none at 3.* depthwise in the recipe"):
        more.load_state_dict(fewer.state_dict(), strict=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SurgeryWarning)
        more.load_state_dict(depthwise().state_dict())  # of the uncut network
        more.load_state_dict(more.state_dict())


def test_maps_of_another_size_with_as_many_positions_are_refused(tmp_path):
    def bare():
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())

    wide, high = (
        surgeon.apply(bare(), "wm-smoothing-all", input_size=(3, *size)) for size in ((4, 8), (8, 4))
    )
    torch.save(wide.state_dict(), tmp_path / "wide.pth")
    with pytest.raises(RuntimeError, match=r"maps is of images of 4x8, and this weight map of 8x4"):
        high.load_state_dict(torch.load(tmp_path / "wide.pth", weights_only=True))
    save_file(wide.state_dict(), tmp_path / "wide.safetensors")  # a file of shapes and numbers alone
    with pytest.raises(
        ArtifactError, match=r"another shape: 0.maps is \(4, 24, 4\), the model needs \(8, 12, 4\)"
    ):
        surgeon.load_weights(high, tmp_path / "wide.safetensors")
    with pytest.raises(RuntimeError, match=r"maps is of images of 4x8, and this weight map of 8x4"):
        high.load_state_dict(load_file(tmp_path / "wide.safetensors"), strict=False)
    again = surgeon.apply(bare(), "wm-smoothing-all", input_size=(3, 4, 8)).eval()
    again.load_state_dict(torch.load(tmp_path / "wide.pth", weights_only=True))
    x = torch.randn(2, 3, 4, 8)
    assert torch.equal(again(x), wide.eval()(x))
