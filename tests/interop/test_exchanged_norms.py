"""Norms that other code exchanges, or fuses with a convolution, after the cut: the layers stay, or an error says what
works."""

import copy

import pytest
import timm
import torch
from timm.layers import freeze_batch_norm_2d, unfreeze_batch_norm_2d
from torch import nn
from torch.ao.quantization import fuse_modules
from torch.nn.utils.fusion import fuse_conv_bn_eval

import surgeon
from surgeon.errors import SurgeryError
from tests.interop.conftest import SIZE
from tests.interop.tiny import IMAGES, Tiny, tiny_cut


@pytest.mark.parametrize("recipe", ["anl", "canl", "defective", "kap", "wm-unsharp"])
def test_batch_norms_are_frozen_and_thawed(cut, batch, recipe):
    model = cut(recipe)
    names, outputs = set(model.state_dict()), model(batch[0])
    freeze_batch_norm_2d(model)
    torch.testing.assert_close(model(batch[0]), outputs)
    assert {n for n in names - set(model.state_dict()) if not n.endswith("num_batches_tracked")} == set()
    unfreeze_batch_norm_2d(model)
    torch.testing.assert_close(model.eval()(batch[0]), outputs)
    assert set(model.state_dict()) == names


def test_norms_that_were_opened_are_frozen_and_folded_with_their_activations(batch):
    stock = timm.create_model("test_efficientnet", num_classes=4).eval()
    model = surgeon.apply(stock, "anl", input_size=SIZE).eval()
    outputs = model(batch[0])
    freeze_batch_norm_2d(model)
    torch.testing.assert_close(model(batch[0]), outputs)
    torch.testing.assert_close(surgeon.fold(model)(batch[0]), outputs)
    torch.testing.assert_close(surgeon.revert(model)(batch[0]), outputs)
    unfreeze_batch_norm_2d(model)
    torch.testing.assert_close(surgeon.fold(model.eval())(batch[0]), outputs)


def test_synchronised_batch_norms_of_opened_norms_fold_with_their_activations(batch):
    stock = timm.create_model("test_efficientnet", num_classes=4).eval()
    model = surgeon.apply(stock, "anl", input_size=SIZE).eval()
    outputs = model(batch[0])
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model).eval()
    torch.testing.assert_close(model(batch[0]), outputs)
    torch.testing.assert_close(surgeon.fold(model).eval()(batch[0]), outputs)


@pytest.mark.parametrize("names", [["features.0", "features.1", "features.2"], ["features.0", "features.1"]])
def test_fusing_a_norm_into_a_pooled_convolution_is_refused(names):
    model = tiny_cut("kap")
    outputs = model(IMAGES)
    fused = fuse_modules(model, [names])
    for use in (lambda m: m(IMAGES), copy.deepcopy, surgeon.fold):
        with pytest.raises(
            SurgeryError,
            match=r"features\.0: ConvReLU2d, .* would run twice: .*fold|features\.1: an Identity .* after surgeon.fold",
        ):
            use(fused)
    folded = fuse_modules(surgeon.fold(model).eval(), [names])
    torch.testing.assert_close(folded(IMAGES), outputs)


def test_a_norm_fused_by_hand_is_refused_and_one_with_the_layer_behind_it_is_not():
    def fuse(model):
        layers = model.features
        layers[0], layers[1] = fuse_conv_bn_eval(layers[0], layers[1]), nn.Identity()

    model = tiny_cut("kap")
    fuse(model)
    with pytest.raises(SurgeryError, match=r"features.1: an Identity .* before the layer and not after it"):
        model(IMAGES)
    model = tiny_cut("anl")
    outputs = model(IMAGES)
    fuse(model)
    torch.testing.assert_close(model(IMAGES), outputs)


def test_an_identity_that_stood_behind_a_layer_before_the_cut_is_none_of_a_fused_norm():
    stock = Tiny().eval()
    stock.features[1] = nn.Identity()
    model = surgeon.apply(stock, "kap", input_size=(3, 8, 8)).eval()
    outputs = model(IMAGES)
    model.features[1] = nn.Identity()
    assert torch.equal(model(IMAGES), outputs)
