"""Feature maps, masks and attacked images against direct computations."""

import math

import pytest
import timm
import torch
from torch import nn

import surgeon
from surgeon.errors import DataError, SurgeonError
from surgeon.insight.adversarial import attacked, draw_adversarial
from surgeon.insight.features import draw_features, feature_maps
from surgeon.insight.masks import draw_masks, kept, masks, pictured
from surgeon.insight.picture import WRONG
from surgeon.insight.raster import named, seen, spread_out


def pixels(n=3, c=3, size=8):
    return torch.rand(n, c, size, size, generator=torch.Generator().manual_seed(1))


def test_the_first_norm_goes_through_a_sigmoid(tiny):
    site, maps = feature_maps(tiny, pixels())
    assert site == "bn1"
    with torch.no_grad():
        torch.testing.assert_close(maps, torch.sigmoid(tiny.bn1(tiny.conv1(pixels()))))


def test_without_a_norm_the_convolution_does_and_the_in_place_activation_stays_out():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2))
    site, maps = feature_maps(net, pixels())
    assert site == "0" and maps.min() < 0.5


def test_a_norm_with_channels_last_is_not_taken_for_maps():
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=56,
        embed_dim=12,
        depths=(1, 1),
        num_heads=(2, 2),
        num_classes=3,
    )
    site, maps = feature_maps(swin, pixels(1, size=56))
    assert site == "patch_embed.proj" and maps.shape == (1, 12, 14, 14)


def test_masked_neurons_are_half_in_the_maps(tiny):
    net = surgeon.apply(tiny, "defective", input_size=(3, 8, 8))
    _, maps = feature_maps(net, pixels())
    assert (maps[:, ~masks(net)["bn1"]] == 0.5).all()


def test_masks_are_the_layers_own(tiny):
    net = surgeon.apply(tiny, "defective", input_size=(3, 8, 8))
    found = masks(net)
    assert list(found) == [e.site for e in net.surgery.edits]
    for edit in net.surgery.edits:
        assert torch.equal(found[edit.site], net.get_submodule(edit.layer).mask)
        count = sum(bool(v) for v in found[edit.site].flatten())
        assert kept(found)[edit.site] == count / math.prod(found[edit.site].shape)
    figure = draw_masks(found)
    assert len(figure.axes) == 6 * len(found)
    assert figure.axes[0].images[0].get_array().tolist() == found["bn1"][0].float().tolist()


def test_models_without_masks_have_none(tiny):
    assert masks(tiny) == {} and masks(surgeon.apply(tiny, "kap", input_size=(3, 8, 8))) == {}
    with pytest.raises(SurgeonError, match="no layer of the model has a mask"):
        pictured(tiny)


def test_predictions_and_lengths(tiny):
    x = pixels(4)
    y = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    found = attacked(tiny, x, y)
    with torch.no_grad():
        assert torch.equal(found.before, tiny(x).argmax(1)) and torch.equal(found.after, tiny(y).argmax(1))
    for n in range(4):
        moved = [float(v) for v in (y[n] - x[n]).flatten()]
        assert float(found.linf[n]) == pytest.approx(max(map(abs, moved)))
        assert float(found.l2[n]) == pytest.approx(math.sqrt(sum(v * v for v in moved)))
    with pytest.raises(DataError, match="must have one shape"):
        attacked(tiny, x, y[:2])


def test_wrong_answers_have_a_sign_beside_their_colour_and_the_scale_is_said(tiny):
    x = pixels(2)
    y = x.clone()
    y[0, 0, 0, 0] = (x[0, 0, 0, 0] + 0.5) % 1
    found = attacked(tiny, x, y)
    right = draw_adversarial(x, y, found.before, found)
    wrong = draw_adversarial(x, y, (found.before + 1) % 5, found, ["a", "b", "c", "d", "e"])
    first, second = right.axes[0].title, wrong.axes[0].title
    assert first.get_text() == str(int(found.before[0])) and first.get_color() == "black"
    assert second.get_text() == f"{'abcde'[int(found.before[0])]} ✗" and second.get_color() == WRONG
    shown = right.axes[4].images[0].get_array()
    assert float(shown[0, 0, 0]) in (0, 1) and float(shown[3, 3, 0]) == 0.5
    assert f"×{0.5 / float(found.linf[0]):.3g}" in right._supxlabel.get_text()
    assert "none" in draw_adversarial(x, x, found.before, attacked(tiny, x, x))._supxlabel.get_text()


def test_small_things():
    assert seen(torch.ones(1, 2, 2)).shape == (2, 2, 3) and seen(torch.ones(5, 2, 2) * 9).max() == 1
    assert named(1, ["a", "a long name of a class"]) == "a long nam…" and named(7, ["a"]) == "7"
    assert spread_out(3, 6) == [0, 1, 2] and spread_out(13, 6) == [0, 2, 5, 7, 10, 12]
    x = pixels(1)
    assert len(draw_features(x, {"m": torch.rand(1, 2, 4, 4)}).axes) == 3 + 1  # input, two maps, bar
