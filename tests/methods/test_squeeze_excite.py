"""Squeeze-and-excitation: its equation, its start as the identity, and where it stands."""

import copy

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import FoldError, LayerError, RecipeError
from surgeon.methods.squeeze_excite import SqueezeExcite
from tests.reference import squeeze_excite as reference

SIZE = (3, 8, 8)


def moved(layer):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    return layer.double()


@pytest.mark.parametrize("shape", [(7,), (4, 3), (2, 3, 2)])
def test_the_layer_is_the_papers_equation(shape):
    layer = moved(SqueezeExcite(5, 3, len(shape)))
    x = torch.randn(4, 5, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = layer(x)
    given = [p.tolist() for p in (layer.squeeze, layer.squeeze_bias, layer.excite, layer.excite_bias)]
    for image, output in zip(x, found, strict=True):
        wanted = reference.squeezed_excited(image.flatten(1).tolist(), *given)
        torch.testing.assert_close(output.flatten(1), torch.tensor(wanted, dtype=torch.float64))
    torch.testing.assert_close(layer(x[1]), found[1])
    assert torch.autograd.gradcheck(layer, (x.requires_grad_(),))


@pytest.mark.filterwarnings("ignore:Tiny is of own code")
def test_it_starts_as_the_identity_and_learns(tiny, images, tmp_path):
    cut = surgeon.apply(tiny, {"op": "squeeze-excite"}, input_size=SIZE)
    assert cut.surgery.effect == "exact" and torch.equal(cut.eval()(images), tiny(images))
    cut.train()
    cut(images).square().sum().backward()
    layer = cut.conv1.excite
    assert layer.excite.grad.abs().sum() > 0 and layer.excite_bias.grad.abs().sum() > 0
    with torch.no_grad():
        layer.excite -= layer.excite.grad
    cut(images).square().sum().backward()
    assert layer.squeeze.grad.abs().sum() > 0
    cut.eval()
    assert not torch.allclose(cut(images), tiny(images))
    surgeon.save(cut, tmp_path / "cut")
    loaded = surgeon.load(tmp_path / "cut", model=copy.deepcopy(tiny)).eval()
    assert torch.equal(loaded(images), cut(images)) and not list(surgeon.revert(cut).conv1.children())
    with pytest.raises(FoldError, match="depend on the image"):
        surgeon.fold(cut)


def test_hidden_numbers_and_places(tiny):
    stock = surgeon.create_model("resnet18", num_classes=5, input_size=(3, 32, 32))
    plan = surgeon.plan(stock, "squeeze-excite", input_size=(3, 32, 32))
    assert len(plan.edits) == 19 and "conv1" not in {e.site for e in plan.edits}
    assert {e.settings["channels"]: e.settings["hidden"] for e in plan.edits} == {
        64: 4,
        128: 8,
        256: 16,
        512: 32,
    }
    blocks = {"include": ["layer*.*.conv2"]}
    assert (
        len(surgeon.plan(stock, {"op": "squeeze-excite", "select": blocks}, input_size=(3, 32, 32)).edits)
        == 8
    )
    cut = surgeon.apply(stock, {"op": "squeeze-excite", "select": blocks}, input_size=(3, 32, 32))
    assert sum(p.numel() for p in cut.parameters()) - sum(p.numel() for p in stock.parameters()) == (
        cut.surgery.growth.parameters
    )
    with pytest.raises(RecipeError, match="reduction"):
        surgeon.plan(tiny, "squeeze-excite", input_size=SIZE, reduction=0)


def test_wrong_inputs_and_emptied_layers():
    layer = SqueezeExcite(4, 4)
    with pytest.raises(LayerError, match=r"weighs 4 channels .* shape \(2, 3, 5, 5\)"):
        layer(torch.zeros(2, 3, 5, 5))
    layer = layer.to_empty(device="cpu")
    with pytest.raises(LayerError, match="no values since to_empty"):
        layer(torch.zeros(2, 4, 5, 5))
    layer.reset_parameters()
    x = torch.rand(2, 4, 5, 5)
    assert torch.equal(layer(x), x) and isinstance(layer, nn.Module)
