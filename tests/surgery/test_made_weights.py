"""Weights that hooks and parametrizations make, before a cut and after it."""

import types

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import surgeon
from surgeon.errors import FoldError, SurgeryError
from surgeon.graph.trees.made_weights import maker, settled
from surgeon.surgery.door import findings

SIZE, LARGER = (3, 8, 8), (3, 32, 32)


def _stock_copy():
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=4).eval()


def laid_mask(module):
    """A mask that a plain hook lays on the weight, in place."""
    mask = (torch.rand(module.weight.shape, generator=torch.Generator().manual_seed(1)) > 0.5).to(
        module.weight
    )

    def hook(module, inputs):
        module.weight.data.mul_(mask)

    module.register_forward_pre_hook(hook)


MAKERS = {
    "prune": lambda m: prune.l1_unstructured(m, "weight", 0.5),
    "weight_norm": weight_norm,
    "spectral_norm": spectral_norm,
    "parametrized weight_norm": parametrizations.weight_norm,
    "parametrized spectral_norm": parametrizations.spectral_norm,
    "in place": laid_mask,
}


@pytest.mark.parametrize("made", MAKERS)
def test_what_makes_a_weight_is_known_by_what_it_does(made):
    conv = nn.Conv2d(3, 4, 3).double().eval()
    assert maker(conv) == "" and settled(conv) is conv
    MAKERS[made](conv)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    wanted = conv(x)
    assert maker(conv)
    plain = settled(conv)
    assert maker(plain) == "" and sorted(plain.state_dict()) == ["bias", "weight"]
    torch.testing.assert_close(plain(x), wanted, rtol=1e-12, atol=1e-12)


def test_a_hook_that_only_looks_makes_nothing():
    conv, seen = nn.Conv2d(3, 4, 3), []
    conv.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    assert maker(conv) == "" and not seen


@pytest.mark.parametrize("recipe", ["smooth-init", "kap-ensemble", "anl", "kap", "wm-unsharp"])
@pytest.mark.parametrize("made", ["prune", "in place"])
def test_a_cut_of_a_network_with_made_weights_runs(recipe, made):
    net = _stock_copy()
    MAKERS[made](net.layer1[0].conv1)
    images = torch.randn(2, *LARGER)
    model = surgeon.apply(net, recipe, input_size=LARGER, trained=True).eval()
    outputs = model(images)
    assert outputs.isfinite().all()
    if recipe in ("kap", "wm-unsharp"):
        with pytest.raises(
            FoldError, match="made by a forward pre-hook" if recipe == "kap" else "a weight map"
        ):
            surgeon.fold(model)
    else:
        torch.testing.assert_close(surgeon.fold(model)(images), outputs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("made", MAKERS)
def test_weights_made_after_the_cut_fold_as_they_are_used(tiny, images, made, tmp_path):
    model = surgeon.apply(tiny.double(), "kap", input_size=SIZE, trained=True).eval()
    MAKERS[made](model.conv1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()(images.double()).square().sum().backward()
    optimizer.step()  # what the hook reads is newer than what it wrote last
    model.eval()
    folded = surgeon.fold(model)
    wanted = model(images.double())
    torch.testing.assert_close(folded(images.double()), wanted, rtol=1e-9, atol=1e-9)
    assert not folded.conv1._forward_pre_hooks and sorted(folded.conv1._parameters)[-1] == "weight"
    assert [f.site for f in findings(model)] == ["conv1"]
    if made != "in place":  # whose tensors are a plain convolution's
        with pytest.raises(SurgeryError, match=r"cannot be saved: at conv1 the surgery left Conv2d"):
            surgeon.save(model, tmp_path / "made")


def test_what_is_taken_off_again_is_found_no_more(tiny):
    model = surgeon.apply(tiny, "kap", input_size=SIZE, trained=True)
    assert findings(model) == ()
    prune.l1_unstructured(model.conv1, "weight", 0.5)
    assert "made by a forward pre-hook" in findings(model)[0].found
    prune.remove(model.conv1, "weight")
    assert findings(model) == ()


def _standardised(conv, x, *weights):
    """What a patch of a convolution may do with its weight: `forward`, or `_conv_forward` where weights are given."""
    weight = conv.weight / (conv.weight.std((1, 2, 3), keepdim=True) + 1e-3)
    return functional.conv2d(x, weight, conv.bias, conv.stride, conv.padding)


@pytest.mark.parametrize("method", ["forward", "_conv_forward"])
def test_a_method_that_is_put_on_a_convolution_after_the_cut_keeps_it_from_folding(tiny, images, method):
    model = surgeon.apply(tiny, "kap", input_size=SIZE, trained=True).eval()
    before = model(images)
    setattr(model.conv1, method, types.MethodType(_standardised, model.conv1))
    assert not torch.allclose(model(images), before)
    with pytest.raises(FoldError, match=f"one with a {method} that was put on the object stands there now"):
        surgeon.fold(model)
    with pytest.raises(SurgeryError, match="cannot be reverted: at conv1 .* put back what was there first"):
        surgeon.revert(model)
    delattr(model.conv1, method)
    torch.testing.assert_close(surgeon.fold(model)(images), before, rtol=1e-4, atol=1e-5)


def test_the_classes_own_forward_put_on_a_convolution_is_nothing(tiny, images):
    model = surgeon.apply(tiny, "kap", input_size=SIZE, trained=True).eval()
    model.conv1.forward = types.MethodType(nn.Conv2d.forward, model.conv1)
    assert findings(model) == ()


def test_a_method_that_is_put_on_a_convolution_before_the_cut_keeps_it_from_folding(tiny, images):
    tiny.conv1._conv_forward = types.MethodType(_standardised, tiny.conv1)
    model = surgeon.apply(tiny, "kap", input_size=SIZE, trained=True).eval()
    with pytest.raises(FoldError, match="its _conv_forward was exchanged on the object"):
        surgeon.fold(model)


@pytest.mark.parametrize("recipe", ["kap", "noise"])
@pytest.mark.parametrize("put", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_hook_on_a_layer_is_not_folded_away(tiny, images, recipe, put):
    model = surgeon.apply(tiny, recipe, input_size=SIZE, trained=True).eval()
    layer = model.get_submodule(next(e.layer for e in model.surgery.edits if e.layer and e.site == "conv1"))
    handle = getattr(layer, put)(lambda module, *given: None)
    with pytest.raises(FoldError, match="at conv1: a forward or backward hook of yours is on the layer"):
        surgeon.fold(model)
    handle.remove()
    surgeon.fold(model)


@pytest.mark.parametrize("training", [True, False])
def test_a_spectral_norm_is_where_it_was_before_the_cut(tiny, training):
    """A read of its weight in training mode is a step of its iteration: neither a cut nor a look takes one."""
    parametrizations.spectral_norm(tiny.conv1)
    before = {k: v.clone() for k, v in tiny.train(training).state_dict().items()}
    cut = surgeon.apply(tiny, {"op": "noise", "sigma": 0.1}, input_size=SIZE)
    findings(cut)
    for network in (tiny, cut):
        assert [k for k, v in network.state_dict().items() if not torch.equal(v, before[k])] == []
