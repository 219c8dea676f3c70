"""All pictures of rewritten networks, a transformer and a network of gray images."""

import io

import pytest
import timm
import torch
from PIL import Image
from torch import nn

import surgeon
from surgeon.errors import DataError, SurgeonError
from surgeon.insight import pictures
from surgeon.models.pixels import Normalized

ALWAYS = ["adversarial", "changes", "spread", "gradcam", "features"]


def data(n=3, c=3, size=32):
    x = torch.rand(n, c, size, size, generator=torch.Generator().manual_seed(1))
    step = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).sign()
    return x, torch.arange(n), (x + 8 / 255 * step).clamp(0, 1)


def narrow(channels=3):
    return surgeon.create_model(
        "resnet18",
        num_classes=10,
        in_chans=channels,
        input_size=(channels, 32, 32),
        model_args={"channels": [8, 8, 16, 16]},
    )


def subject(net, channels=3):
    return Normalized(net, (0.5,) * channels, (0.25,) * channels)


def check(made):
    for picture in made:
        image = Image.open(io.BytesIO(picture.png))
        image.load()
        assert image.format == "PNG" and image.width == 640 and image.height > 100
        lightness = image.convert("L").getextrema()
        assert lightness[0] < 100 and lightness[1] == 255  # ink, on white
        assert all((picture.title, picture.caption, picture.alt)) and any(c.isdigit() for c in picture.alt)
        assert "nan" not in picture.alt
    return [p.name for p in made]


@pytest.mark.parametrize(
    ("recipe", "more"),
    [("kap", ["kernels"]), ("defective", ["kernels", "masks"]), ("wm-smoothing", ["kernels"])],
)
def test_a_rewritten_network_has_all_that_apply_and_stays_as_it_was(recipe, more):
    net = narrow()
    model = subject(surgeon.apply(net, recipe, input_size=(3, 32, 32))).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    made, skipped = pictures(
        model, *data(), beside={"stock": subject(net)}, class_names=[f"class {i}" for i in range(10)]
    )
    assert skipped == [] and check(made) == ALWAYS + more
    told = {p.name: p for p in made}
    assert recipe in told["changes"].alt and "stock: first layer" in told["changes"].alt
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(m.training and not m._forward_hooks for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_the_same_twice():
    model = subject(surgeon.apply(narrow(), "kap", input_size=(3, 32, 32)))
    first, second = (pictures(model, *data(), seed=4)[0] for _ in range(2))
    assert first == second


def test_a_transformer_goes_without_gradcam():
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, depth=2, embed_dim=24, num_heads=2, num_classes=5
    )
    made, skipped = pictures(subject(vit), *data())
    assert check(made) == ["adversarial", "changes", "spread", "features", "kernels"]
    assert len(skipped) == 1 and skipped[0].startswith(
        "gradcam: its last maps over space, of patch_embed.proj"
    )


def test_gray_images_and_a_name_taken_by_another():
    model = subject(surgeon.apply(narrow(1), "defective-channel", input_size=(1, 32, 32)), 1)
    made, skipped = pictures(model, *data(c=1), beside={"defective-channel": subject(narrow(1), 1)})
    assert skipped == [] and check(made) == [*ALWAYS, "kernels", "masks"]
    assert "defective-channel (this model)" in made[1].alt


def test_a_picture_that_fails_says_why_and_the_others_are_made():
    made, skipped = pictures(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4)), *data(size=8))
    assert check(made) == ["adversarial", "changes", "spread"]
    assert [s.split(":")[0] for s in skipped] == ["gradcam", "features", "kernels"]
    assert all("Error" not in s for s in skipped)


def test_one_image_is_enough(tiny):
    made, skipped = pictures(tiny, *data(n=1, size=8))
    assert skipped == [] and check(made) == [*ALWAYS, "kernels"]


def test_without_matplotlib_there_are_none(tiny, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    made, skipped = pictures(tiny, *data(size=8))
    assert made == [] and "fx-surgeon[report]" in skipped[0]


def test_what_does_not_fit_is_refused(tiny):
    x, y, z = data(size=8)
    with pytest.raises(DataError, match=r"labels \(2,\)"):
        pictures(tiny, x, y[:2], z)
    with pytest.raises(DataError):
        pictures(tiny, x, y, z[:2])
    with pytest.raises(SurgeonError, match="sigma=-1"):
        pictures(tiny, x, y, z, sigma=-1)


@pytest.mark.parametrize("around", [nn.DataParallel, torch.optim.swa_utils.AveragedModel])
def test_a_network_in_a_wrapper_has_the_pictures_of_the_network(around):
    """The masks were left out, and layers had other names than those of the network beside it."""
    net = surgeon.apply(narrow(), "defective", input_size=(3, 32, 32)).eval()
    x, y, adversarial = data()
    alone, _ = pictures(subject(net), x, y, adversarial)
    wrapped, skipped = pictures(subject(around(net)), x, y, adversarial)
    assert skipped == [] and "masks" in check(wrapped)
    assert [(p.name, p.alt) for p in wrapped] == [(p.name, p.alt) for p in alone]
