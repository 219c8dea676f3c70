"""Features from inside of a rewritten network, by the libraries' own ways."""

import warnings

import pytest
import timm
import torch

import surgeon
from surgeon.errors import SurgeryError, SurgeryWarning
from tests.interop.conftest import RECIPES, SIZE

LARGE = pytest.param("vgg11_bn", marks=pytest.mark.processes)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", LARGE])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_features_only_network_is_cut_and_gives_its_maps(batch, name, recipe):
    x, _ = batch
    stock = timm.create_model(name, features_only=True).eval()
    model = surgeon.apply(stock, recipe, input_size=SIZE)
    for training in (True, False):
        assert [m.shape for m in model.train(training)(x)] == [m.shape for m in stock(x)]
    assert model.feature_info.channels() == stock.feature_info.channels()
    assert len(model.surgery.edits) > 1


@pytest.mark.parametrize("name", ["test_resnet", LARGE])
def test_a_features_only_network_folds(batch, name):
    x, _ = batch
    how = {"op": "kap", "start": "lstsq"}
    model = surgeon.apply(timm.create_model(name, features_only=True), how, input_size=SIZE).eval()
    for folded, whole in zip(surgeon.fold(model)(x), model(x), strict=True):
        assert torch.allclose(folded, whole, atol=1e-4)


def test_forward_features_and_forward_head(model, batch):
    x, _ = batch
    assert torch.equal(model.forward_head(model.forward_features(x)), model(x))


def test_hooks_on_layers(model, batch):
    seen = []
    model.layer2[0].conv1.register_forward_hook(lambda *args: seen.append(args[2].shape))
    model(batch[0])
    assert len(seen) == 1


@pytest.mark.filterwarnings("ignore:NOTE")
def test_torchvisions_feature_extractor_with_the_layers_kept_whole(model, batch):
    from torchvision.models.feature_extraction import create_feature_extractor

    x, _ = batch
    layers = {
        type(m)
        for m in model.modules()
        if type(m).__module__.startswith(("surgeon.methods", "surgeon.tensors"))
    }
    extractor = create_feature_extractor(
        model, ["layer2.0.act1", "fc"], tracer_kwargs={"leaf_modules": list(layers)}
    )
    features = extractor.eval()(x)
    assert torch.allclose(features["fc"], model(x), atol=1e-4)
    assert len(features["layer2.0.act1"]) == len(x)


def test_forward_intermediates_with_the_surgery_in_effect(model, stock, batch):
    x, _ = batch
    last, maps = model.forward_intermediates(x, indices=[1, 3])
    assert torch.equal(model.forward_head(last), model(x))
    ours = model.forward_intermediates(x, indices=3, intermediates_only=True)
    theirs = stock.forward_intermediates(x, indices=3, intermediates_only=True)
    assert len(maps) == 2 and [m.shape for m in ours] == [m.shape for m in theirs]
    assert not torch.allclose(ours[-1], theirs[-1]) or model.surgery.effect == "exact"
    assert torch.equal(maps[1], ours[1])


@pytest.mark.parametrize("recipe", ["kap", "defective"])
def test_a_vision_transformer_that_gives_its_features_by_that_method(batch, recipe):
    x, _ = batch
    stock = timm.create_model("test_vit", features_only=True, img_size=32, patch_size=8).eval()
    model = surgeon.apply(stock, recipe, input_size=SIZE).eval()
    assert [m.shape for m in model(x)] == [m.shape for m in stock(x)]
    assert not torch.allclose(model(x)[-1], stock(x)[-1])


def test_methods_that_would_run_the_code_before_the_surgery_say_so(model):
    with pytest.raises(
        SurgeryError, match=r"prune_intermediate_layers runs code from before the surgery.*surgeon.fold"
    ):
        model.prune_intermediate_layers(1)


def test_timms_getter_of_features_around_a_rewritten_network(model, batch):
    from timm.models._features import FeatureGetterNet

    x, _ = batch
    with pytest.raises(SurgeryError, match=r"forward_intermediates.*prune=False.*features_only=True"):
        FeatureGetterNet(model, out_indices=[1, 3])
    wanted = model.forward_intermediates(x, indices=[1, 3], intermediates_only=True)
    found = FeatureGetterNet(model, out_indices=[1, 3], prune=False).eval()(x)
    assert len(found) == 2 and all(map(torch.equal, found, wanted))


def test_torchvisions_feature_extractor_of_a_folded_network_needs_nothing(cut, batch):
    from torchvision.models.feature_extraction import create_feature_extractor

    x, _ = batch
    folded = surgeon.fold(cut("kap"))
    assert torch.allclose(create_feature_extractor(folded, ["fc"]).eval()(x)["fc"], folded(x))


@pytest.mark.parametrize("way", ["forward_pre_hook", "forward_hook", "full_backward_hook"])
def test_hooks_on_a_block_are_told_once_and_those_from_before_are_called(way):
    images, calls = torch.rand(2, 3, 32, 32), []
    stock = timm.create_model("test_resnet").eval()
    for put_before in (True, False):
        model = stock if put_before else surgeon.apply(stock, "anl", input_size=SIZE).eval()
        handle = getattr(model.layer4[0], f"register_{way}")(lambda *_: calls.append(way))
        if put_before:
            cut = surgeon.apply(model, "anl", input_size=SIZE).eval()
            handle.remove()
            calls.clear()
            cut(images).sum().backward()
            assert calls == [way]
            continue
        calls.clear()
        with pytest.warns(
            SurgeryWarning, match=r"hooks that were put on layer4\.0 after the surgery are not"
        ):
            model(images).sum().backward()
        assert not calls
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model(images)
        handle.remove()
        getattr(model.layer3[0], f"register_{way}")(lambda *_: calls.append(way))  # as many as before
        with pytest.warns(SurgeryWarning, match=r"put on layer3\.0 after"):
            model(images)
