"""Networks whose tensors were given empty memory: `to_empty`, from the meta device or from a real one."""

import copy
import pickle

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import LayerError
from surgeon.methods.controls.input_scale_layer import InputScale
from surgeon.methods.defective.module import DefectiveMask
from surgeon.methods.kap.module import KernelAveragePool
from surgeon.methods.kap.prenorm import PreNormKernelAveragePool
from surgeon.methods.weight_map.blend import WeightMapBlend
from surgeon.methods.weight_map.module import WeightMap2d
from surgeon.models.pixels import Normalized

SIZE = (3, 12, 12)


def from_meta(module):
    return module.to("meta").to_empty(device="cpu")


def at_once(module):
    return module.to_empty(device="cpu")


@pytest.fixture(autouse=True)
def filled(monkeypatch):
    """Empty memory full of the number 7, which no layer holds."""
    real = torch.empty_like
    monkeypatch.setattr(
        torch,
        "empty_like",
        lambda t, **how: real(t, **how) if how.get("device") in ("meta",) else torch.full_like(t, 7, **how),
    )


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 3))

    def forward(self, x):
        return super().forward(x * torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1))


@pytest.mark.parametrize("empty", [from_meta, at_once])
@pytest.mark.parametrize("recipe", ["noise", "kap", "wm-unsharp", "defective"])
def test_a_state_dict_gives_all_values_back(recipe, empty):
    torch.manual_seed(0)
    cut = surgeon.apply(Net(), recipe, input_size=SIZE).eval()
    x = torch.randn(2, *SIZE)
    wanted = cut(x)
    emptied = empty(copy.deepcopy(cut))
    emptied.load_state_dict(cut.state_dict())
    assert torch.equal(emptied(x), wanted)
    again = empty(copy.deepcopy(emptied))
    again.load_state_dict(cut.state_dict())
    assert torch.equal(again(x), wanted)


@pytest.mark.parametrize("empty", [from_meta, at_once])
@pytest.mark.parametrize("recipe", ["kap", "defective"])
def test_a_stock_checkpoint_no_longer_loads_strictly(recipe, empty):
    stock = Net()
    cut = surgeon.apply(stock, recipe, input_size=SIZE)
    cut.load_state_dict(stock.state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        empty(cut).load_state_dict(stock.state_dict())


@pytest.mark.parametrize("empty", [from_meta, at_once])
def test_the_normalisation_of_an_attacked_model_stays(empty):
    model = Normalized(Net(), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)).eval()
    x = torch.rand(2, *SIZE)
    wanted, state = model(x), copy.deepcopy(model.state_dict())
    emptied = empty(copy.deepcopy(model))
    emptied.load_state_dict(state)
    assert torch.equal(emptied(x), wanted)
    assert emptied.double().mean.dtype == torch.float64


LAYERS = {
    "kap": lambda: KernelAveragePool(9, alpha=0.25),
    "kap-order": lambda: KernelAveragePool(
        9, order=torch.randperm(9, generator=torch.Generator().manual_seed(3))
    ),
    "kap-norm": lambda: PreNormKernelAveragePool(KernelAveragePool(9), 9),
    "mask": lambda: DefectiveMask(9, 6, 6, keep=0.4, seed=5),
    "mask-chosen": lambda: DefectiveMask(9, 6, 6, keep=0.4, seed=5, chosen=True),
    "input-scale": lambda: InputScale(9, 6, 6),
    "blend": lambda: WeightMapBlend(nn.Conv2d(9, 9, 1), WeightMap2d(9, 9, 6, 1), alpha=0.25),
}


def reset(model):
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


@pytest.mark.parametrize("empty", [from_meta, at_once])
@pytest.mark.parametrize("kind", LAYERS)
def test_reset_parameters_makes_a_layer_as_it_was_built(kind, empty):
    layer = empty(LAYERS[kind]()).eval()
    torch.manual_seed(0)
    with pytest.raises(LayerError, match="no values since to_empty"):
        layer(torch.randn(2, 9, 6, 6))
    again = pickle.loads(pickle.dumps(copy.deepcopy(layer)))
    with pytest.raises(LayerError, match="no values since to_empty"):
        again(torch.randn(2, 9, 6, 6))
    for one in (layer, again):
        reset(one)
        for name, wanted in LAYERS[kind]().state_dict().items():
            if not name.startswith(("conv.", "map.")):  # drawn anew, as torch's own
                assert torch.equal(one.state_dict()[name], wanted), name
        one(torch.randn(2, 9, 6, 6))
        assert not one._forward_pre_hooks


@pytest.mark.parametrize("empty", [from_meta, at_once])
def test_what_was_fitted_or_loaded_is_not_made_up(empty):
    pool = KernelAveragePool(9)
    pool.set_order(torch.randperm(9, generator=torch.Generator().manual_seed(3)))
    mask = DefectiveMask(9, 6, 6, keep=0.4, chosen=True)
    mask.choose(torch.rand(9, 6, 6))
    loaded = LAYERS["kap-order"]()
    loaded.load_state_dict(pool.state_dict())
    for layer, name in ((pool, "order"), (mask, "rank and mask"), (loaded, "order")):
        state, x = copy.deepcopy(layer.state_dict()), torch.randn(2, 9, 6, 6)
        wanted = layer(x)
        reset(layer)
        assert torch.equal(layer(x), wanted)
        empty(layer)
        reset(layer)
        with pytest.raises(LayerError, match=f"{name} ha"):
            layer(x)
        layer.load_state_dict(state)
        assert torch.equal(layer(x), wanted)


def test_values_that_are_written_in_place_or_exchanged_count():
    layer = at_once(DefectiveMask(9, 6, 6))
    layer.mask.copy_(torch.ones(9, 6, 6))
    x = torch.randn(2, 9, 6, 6)
    assert torch.equal(layer(x), x) and not layer._forward_pre_hooks
    layer = from_meta(DefectiveMask(9, 6, 6)).double()
    with pytest.raises(LayerError, match="mask has no values"):
        layer(x)
    layer.mask = torch.ones(9, 6, 6, dtype=torch.bool)
    assert torch.equal(layer(x), x)


@pytest.mark.parametrize("recipe", ["kap", "wm-unsharp", "defective", "wm-input-scale"])
def test_a_network_that_is_reset_module_by_module_runs_with_the_layers_as_they_were_built(recipe):
    cut = surgeon.apply(Net(), recipe, input_size=SIZE).eval()
    state = cut.state_dict()
    reset(from_meta(cut))
    cut(torch.randn(2, *SIZE))
    layers = [k for k in state if k.endswith(("mask", "alpha", "input_scale.weight"))]
    assert layers or recipe == "wm-unsharp"
    assert all(
        torch.equal(cut.state_dict()[k], surgeon.apply(Net(), recipe, input_size=SIZE).state_dict()[k])
        for k in layers
    )


@pytest.mark.parametrize("recipe", ["kap", "defective"])
def test_a_stock_checkpoint_does_not_load_strictly_onto_the_meta_device(recipe):
    stock = Net()
    cut = surgeon.apply(stock, recipe, input_size=SIZE).eval()
    state = cut.state_dict()
    cut.to("meta")
    with pytest.raises(RuntimeError, match=r"Missing key\(s\).*(mask|alpha)"):
        cut.load_state_dict(stock.state_dict(), assign=True)
    report = cut.load_state_dict(stock.state_dict(), assign=True, strict=False)
    assert report.missing_keys == [k for k in state if k not in stock.state_dict()]
    cut.load_state_dict(state, assign=True)
    cut(torch.randn(2, *SIZE))


def test_values_that_are_lent_for_one_call_do_not_count():
    cut = surgeon.apply(Net(), "defective", input_size=SIZE).eval()
    x, state = torch.randn(2, *SIZE), cut.state_dict()
    wanted = cut(x)
    emptied = at_once(copy.deepcopy(cut))
    assert torch.equal(torch.func.functional_call(emptied, state, (x,)), wanted)
    with pytest.raises(LayerError, match="mask has no values"):
        emptied(x)
