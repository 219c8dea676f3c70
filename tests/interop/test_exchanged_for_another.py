"""A module in place of one that the surgery opened, or put there itself: the layer of that one is not given to it."""

import copy
import warnings

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d, freeze_batch_norm_2d, unfreeze_batch_norm_2d
from torch import nn

import surgeon
from surgeon.errors import SurgeryError
from tests.interop.conftest import SIZE
from tests.interop.test_exchanged import LoRA

ORDER = "before surgeon.apply, or after surgeon.fold or surgeon.revert"


def cut(name, recipe):
    torch.manual_seed(0)
    return surgeon.apply(timm.create_model(name, num_classes=4).eval(), recipe, input_size=SIZE).eval()


OTHERS = [
    ("blur-pool", "maxpool", lambda: nn.AvgPool2d(3, 2, 1), "MaxPool2d and Blur in place of MaxPool2d"),
    ("blur-pool", "maxpool", nn.Identity, "MaxPool2d and Blur in place of MaxPool2d"),
    ("blur-pool", "layer2.0.conv1", lambda: nn.Conv2d(64, 128, 3, 2, 1, bias=False), "in place of Conv2d"),
    ("smooth-activation", "act1", nn.GELU, "Identity and SmoothReLU in place of ReLU"),
    ("smooth-activation", "act1", nn.Identity, "Identity and SmoothReLU in place of ReLU"),
]


@pytest.mark.parametrize(("recipe", "site", "other", "said"), OTHERS)
def test_what_stood_with_a_layer_in_place_of_a_module_is_not_exchanged_without_it(
    batch, recipe, site, other, said
):
    model = cut("resnet18", recipe)
    owner, _, leaf = site.rpartition(".")
    setattr(model.get_submodule(owner), leaf, other())
    for use in (lambda: model(batch[0]), lambda: copy.deepcopy(model), lambda: surgeon.fold(model)):
        with pytest.raises(SurgeryError, match=rf"{site}.*{said}.*{ORDER}|{site}.*{ORDER}"):
            use()
    with pytest.raises(SurgeryError, match=rf"{site}: {type(other()).__name__} stands where .*{said}"):
        model(batch[0])


def test_one_of_the_same_class_and_settings_is_given_the_layer(batch):
    model = cut("resnet18", "blur-pool")
    outputs = model(batch[0])
    model.maxpool = nn.MaxPool2d(3, 1, 1)
    torch.testing.assert_close(model(batch[0]), outputs)


def test_a_wrapper_around_it_is_given_the_layer(batch):
    model = cut("resnet18", "blur-pool")
    outputs = model(batch[0])
    model.layer2[0].conv1 = LoRA(model.layer2[0].conv1)
    torch.testing.assert_close(model(batch[0]), outputs)


@pytest.mark.parametrize("recipe", ["anl", "canl"])
def test_a_norm_with_an_activation_in_place_of_an_opened_one_is_refused(batch, recipe):
    model = cut("test_efficientnet", recipe)
    model.bn1 = BatchNormAct2d(24, act_layer=nn.SiLU).eval()
    for use in (lambda: model(batch[0]), lambda: copy.deepcopy(model)):
        with pytest.raises(
            SurgeryError, match=rf"bn1: BatchNormAct2d, with an activation of its own, .*{ORDER}"
        ):
            use()


def test_a_plain_norm_in_place_of_an_opened_one_is_told_to_be_activated(batch):
    model = cut("test_efficientnet", "anl")
    norm = nn.BatchNorm2d(24).eval()
    norm.running_mean.add_(1)
    model.bn1 = norm
    with pytest.warns(UserWarning, match=rf"bn1: BatchNorm2d .* SiLU, stays behind it.*{ORDER}"):
        outputs = model(batch[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(surgeon.fold(model).eval()(batch[0]), outputs)


def test_norms_that_are_frozen_thawed_or_synchronised_are_not_told_of(batch):
    model = cut("test_efficientnet", "anl")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        freeze_batch_norm_2d(model)
        unfreeze_batch_norm_2d(model)
        outputs = model.eval()(batch[0])
        synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(model).eval()
        torch.testing.assert_close(synchronised(batch[0]), outputs)
