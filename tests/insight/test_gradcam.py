"""Grad-CAM against hand computations, and the layer that it takes."""

import pytest
import timm
import torch
from torch import nn

import surgeon
from surgeon.errors import DataError, SurgeonError
from surgeon.insight.gradcam import gradcam
from surgeon.insight.last_maps import last_spatial
from surgeon.models.pixels import Normalized
from tests.sensitivity import doubled


def pixels(n=3, c=3, size=8):
    return torch.rand(n, c, size, size, generator=torch.Generator().manual_seed(1))


class Head(nn.Module):
    """Convolution, in-place activation or none, global average, linear."""

    def __init__(self, active, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1, stride=stride)
        self.act = nn.ReLU(inplace=True) if active else nn.Identity()
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        return self.fc(self.act(self.conv(x)).mean((2, 3)))


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_it_is_the_class_activation_map_behind_a_global_average(active, stride):
    net = doubled(Head(active, stride))
    x, y = pixels(), torch.tensor([0, 3, 1])
    found = gradcam(net, x, y).double()
    with torch.no_grad():
        maps = net.act(net.conv(x.double()))
        cam = torch.zeros(3, *maps.shape[2:], dtype=torch.float64)
        for n in range(3):
            for k in range(6):
                cam[n] += net.fc.weight[y[n], k] / maps.shape[2] ** 2 * maps[n, k]
        cam = nn.functional.interpolate(cam.relu()[:, None], (8, 8), mode="bilinear")[:, 0]
    expected = torch.stack([c / c.max() if c.max() > 0 else c for c in cam])
    assert found.shape == (3, 8, 8)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)  # maps may be told in float32


def test_the_convolution_before_an_in_place_activation_takes_the_gradient_of_its_own_output():
    net, x, y = doubled(Head(True)), pixels(), torch.tensor([0, 3, 1])
    with torch.no_grad():
        maps = net.conv(x.double())
        weight = (net.fc.weight[y][:, :, None, None] * (maps > 0) / 64).mean((2, 3), keepdim=True)
        cam = (weight * maps).sum(1).relu()
    torch.testing.assert_close(
        gradcam(net, x, y, "conv").double(),
        cam / cam.amax((1, 2), keepdim=True).clamp_min(1e-30),
        rtol=0,
        atol=1e-6,
    )


def test_no_evidence_gives_an_empty_map():
    net = Head(True)
    nn.init.constant_(net.fc.weight, -1.0)
    assert gradcam(net, pixels(), torch.zeros(3, dtype=torch.long)).eq(0).all()


def test_each_map_is_its_own_images(tiny):
    x, y = pixels(), torch.tensor([0, 1, 2])
    whole = gradcam(doubled(tiny), x, y)
    assert whole.min() >= 0 and whole.max() <= 1
    for n in range(3):
        torch.testing.assert_close(
            whole[n : n + 1], gradcam(tiny, x[n : n + 1], y[n : n + 1]), atol=1e-4, rtol=1e-4
        )


def test_it_runs_under_no_grad_and_leaves_the_model_alone(tiny):
    model = Normalized(tiny, (0.5,) * 3, (0.2,) * 3).train()
    with torch.no_grad():
        gradcam(model, pixels(), torch.tensor([0, 1, 2]))
    with pytest.raises(SurgeonError, match="gives no maps"):
        gradcam(model, pixels(), torch.tensor([0, 1, 2]), "head")
    assert all(m.training for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


def test_errors_name_what_is_wrong(tiny):
    with pytest.raises(SurgeonError, match=r"no layer 'conv3'; did you mean 'conv"):
        gradcam(tiny, pixels(), torch.tensor([0, 1, 2]), "conv3")
    with pytest.raises(DataError, match=r"\[0, 1, 9\] do not fit"):
        gradcam(tiny, pixels(), torch.tensor([0, 1, 9]))
    with pytest.raises(DataError):
        gradcam(tiny, pixels(), torch.tensor([0, 1]))
    with pytest.raises(SurgeonError, match="no layer gives maps"):
        last_spatial(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), pixels())


def test_the_last_maps_of_stock_and_rewritten_networks(tiny):
    assert last_spatial(tiny, pixels()) == "bn2"  # its relu_ is a function
    assert last_spatial(surgeon.apply(tiny, "defective", input_size=(3, 8, 8)), pixels()) == "bn2.mask"
    wm = surgeon.apply(tiny, "wm-smoothing-all", input_size=(3, 8, 8))
    assert last_spatial(wm, pixels()) == "bn2"
    assert gradcam(wm, pixels(), torch.tensor([0, 1, 2]), "conv2").shape == (3, 8, 8)
    next_ = timm.create_model(
        "convnext_atto", num_classes=3, depths=(1, 1, 1, 1), dims=(8, 8, 8, 8), conv_mlp=False
    )
    assert (
        last_spatial(next_, pixels(1, size=64)) == "stages.3.blocks.0.conv_dw"
    )  # behind it, channels come last


def test_a_vision_transformer_is_refused_but_for_a_layer_that_is_named():
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, depth=2, embed_dim=24, num_heads=2, num_classes=3
    )
    with pytest.raises(SurgeonError, match="layer 1 of 15.*layer='patch_embed.proj'"):
        gradcam(vit, pixels(1, size=32), torch.tensor([0]))
    assert gradcam(vit, pixels(1, size=32), torch.tensor([0]), "patch_embed.proj").shape == (1, 32, 32)
