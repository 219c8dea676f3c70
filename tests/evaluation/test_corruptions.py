"""Common corruptions: what each does against a formula or pillow, and draws that no batch changes."""

import io
import math

import numpy as np
import pytest
import torch

pytest.importorskip("scipy")
Image = pytest.importorskip("PIL.Image")

from surgeon.errors import DataError  # noqa: E402
from surgeon.evaluation.beyond.corruptions import KINDS, SEVERITIES, corrupt  # noqa: E402
from surgeon.evaluation.beyond.corruptions.blur import disk, glass_blur, smear  # noqa: E402
from surgeon.evaluation.beyond.corruptions.digital import elastic_transform  # noqa: E402
from surgeon.evaluation.beyond.corruptions.parameters import CIFAR, IMAGENET, settings  # noqa: E402
from surgeon.evaluation.beyond.corruptions.weather import ice, plasma, snow  # noqa: E402

UNEVEN = {"glass_blur", "frost", "elastic_transform"}
"""Kinds whose published severities exchange one cause for another, so that the distance does not grow at each step."""


def pictures(count, side, width=None, channels=3):
    """Pictures with edges, shading and texture on several scales: disks, bars and waves; 8-bit levels in [0, 1]."""
    rng = np.random.default_rng(side)
    y, x = np.mgrid[0:side, 0 : width or side] / side
    found = []
    for _ in range(count):
        picture = np.stack([0.35 + 0.3 * (a * x + (1 - a) * y) for a in rng.random(channels)])
        for _ in range(6):
            centre, radius, colour = rng.random(2), rng.uniform(0.08, 0.3), rng.random((channels, 1))
            picture[:, np.hypot(y - centre[0], x - centre[1]) < radius] = colour
        wave = np.sin(rng.uniform(20, 50) * (x + rng.random() * y))
        found.append(np.clip(picture + 0.08 * wave, 0, 1))
    return torch.from_numpy(np.rint(255 * np.stack(found)) / 255).float()


def constant(value, side=32):
    return torch.full((2, 3, side, side), value)


@pytest.fixture(scope="module")
def small():
    return pictures(12, 32)


def test_the_kinds_are_the_papers_in_its_order():
    assert KINDS[:4] == ("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur")
    assert KINDS[-3:] == ("elastic_transform", "pixelate", "jpeg_compression") and len(KINDS) == 15
    assert tuple(IMAGENET) == KINDS == tuple(CIFAR) and SEVERITIES == (1, 2, 3, 4, 5)
    for kind in KINDS:
        lengths = {len(c) for table in (CIFAR, IMAGENET) for c in table[kind]}
        assert len(CIFAR[kind]) == len(IMAGENET[kind]) == 5 and len(lengths) == 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_images_of_all_sizes_stay_images_and_change(kind, channels):
    for height, width in ((32, 32), (28, 41), (80, 96)):
        x = pictures(2, height, width, channels)
        kept = x.clone()
        for severity in SEVERITIES:
            found = corrupt(x, kind, severity)
            assert found.shape == x.shape and found.dtype == torch.float32 and found.is_contiguous()
            assert bool(found.isfinite().all()) and float(found.min()) >= 0 and float(found.max()) <= 1
            assert bool(((found - x).abs().flatten(1).amax(1) > 1 / 255).all())
        assert torch.equal(x, kept)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [1, 2, 8])
def test_tiny_images_are_no_exception(kind, side):
    found = corrupt(torch.rand(1, 3, side, side), kind, 5)
    assert found.shape == (1, 3, side, side) and bool(found.isfinite().all())


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in UNEVEN])
def test_the_distance_grows_with_the_severity(small, kind):
    found = [float((corrupt(small, kind, s) - small).flatten(1).norm(dim=1).mean()) for s in SEVERITIES]
    assert found == sorted(set(found)), found


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_corrupted_alike_in_every_batch(small, kind):
    x = small[:4]
    all_at_once = corrupt(x, kind, 3, seed=7)
    assert torch.equal(all_at_once, corrupt(x, kind, 3, seed=7))
    assert torch.equal(all_at_once[:2], corrupt(x[:2], kind, 3, seed=7))
    assert torch.equal(all_at_once[[3, 1]], corrupt(x[[3, 1]], kind, 3, seed=7, indices=[3, 1]))


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_or_index_draws_anew_where_there_is_chance(small, kind):
    x = small[:1]
    fixed = kind in {
        "defocus_blur",
        "zoom_blur",
        "brightness",
        "contrast",
        "pixelate",
        "jpeg_compression",
    }
    found = corrupt(x, kind, 3)
    assert torch.equal(found, corrupt(x, kind, 3, seed=1)) == fixed
    assert torch.equal(found, corrupt(x, kind, 3, indices=[1])) == fixed


def test_no_global_generator_is_touched(small):
    np.random.seed(0)
    torch.manual_seed(0)
    was = np.random.get_state()[1].copy(), torch.get_rng_state()
    for kind in KINDS:
        corrupt(small[:1], kind, 2, seed=3)
    assert np.array_equal(was[0], np.random.get_state()[1]) and torch.equal(was[1], torch.get_rng_state())


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(("side", "table"), [(64, CIFAR), (65, IMAGENET)])
def test_noise_has_the_deviation_of_its_parameter(severity, side, table):
    gray = torch.full((8, 3, side, side), 0.5)
    found = corrupt(gray, "gaussian_noise", severity).double()
    sigma = table["gaussian_noise"][severity - 1][0]
    b = 0.5 / sigma  # where [0, 1] cuts the normal, in deviations
    above, at = math.erfc(b / math.sqrt(2)), math.exp(-b * b / 2) / math.sqrt(2 * math.pi)
    clipped = sigma * math.sqrt(1 - above - 2 * b * at + b * b * above)
    assert float(found.std()) == pytest.approx(clipped, rel=0.02) and float(found.mean()) == pytest.approx(
        0.5, abs=0.005
    )

    photons = table["shot_noise"][severity - 1][0]
    found = corrupt(torch.full((8, 3, side, side), 0.2), "shot_noise", severity).double()
    if 0.2 + 5 * math.sqrt(0.2 / photons) < 1:  # clipping is too rare to matter
        assert float(found.std()) == pytest.approx(math.sqrt(0.2 / photons), rel=0.02)
    assert torch.allclose(found * photons, (found * photons).round(), atol=1e-4)

    found = corrupt(gray, "impulse_noise", severity)
    share = table["impulse_noise"][severity - 1][0]
    assert float((found != 0.5).float().mean()) == pytest.approx(share, abs=0.004)
    assert float(found.mean()) == pytest.approx(0.5, abs=0.005) and set(found.unique().tolist()) == {
        0,
        0.5,
        1,
    }


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_raises_the_value_of_hsv(small, severity):
    import colorsys

    found = corrupt(small[:1], "brightness", severity)[0].flatten(1).T.tolist()
    for was, now in zip(small[0].flatten(1).T.tolist(), found, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*was)
        wanted = colorsys.hsv_to_rgb(h, s, min(1.0, v + CIFAR["brightness"][severity - 1][0]))
        assert now == pytest.approx(wanted, abs=1e-5)
    black = corrupt(torch.zeros(1, 3, 4, 4), "brightness", severity)
    assert torch.allclose(black, torch.tensor(CIFAR["brightness"][severity - 1][0]))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_shrinks_around_the_mean_of_each_channel(small, severity):
    mean, c = small.mean((2, 3), keepdim=True), CIFAR["contrast"][severity - 1][0]
    assert torch.allclose(corrupt(small, "contrast", severity), mean + c * (small - mean), atol=1e-5)


def as_pillow(x):
    return Image.fromarray((255 * x.permute(1, 2, 0)).round().byte().numpy())


def as_tensor(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_and_jpeg_are_pillows(severity):
    for (height, width), table in {(32, 40): CIFAR, (70, 90): IMAGENET}.items():
        x = pictures(1, height, width)
        c = table["pixelate"][severity - 1][0]
        coarse = as_pillow(x[0]).resize((int(width * c), int(height * c)), Image.Resampling.BOX)
        wanted = as_tensor(coarse.resize((width, height), Image.Resampling.BOX))
        assert torch.allclose(corrupt(x, "pixelate", severity)[0], wanted, atol=1e-6)

        stored = io.BytesIO()
        as_pillow(x[0]).save(stored, "JPEG", quality=table["jpeg_compression"][severity - 1][0])
        assert torch.allclose(
            corrupt(x, "jpeg_compression", severity)[0], as_tensor(Image.open(stored)), atol=1e-6
        )


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("side", [32, 80])
@pytest.mark.parametrize(
    "kind",
    ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "contrast", "elastic_transform", "pixelate"],
)
def test_what_moves_pixels_keeps_a_constant_image(kind, side, severity):
    gray = constant(0.4, side)  # 102 of 255
    assert torch.allclose(corrupt(gray, kind, severity), gray, atol=1e-5)


def test_a_point_out_of_focus_is_the_disk():
    for radius, soft in CIFAR["defocus_blur"] + IMAGENET["defocus_blur"]:
        kernel = disk(radius, soft)
        assert kernel.sum() == pytest.approx(1) and np.array_equal(kernel, kernel[::-1, ::-1])
    point = torch.zeros(1, 1, 33, 33)
    point[..., 16, 16] = 1
    kernel = torch.from_numpy(disk(1.5, 0.1)).float()
    half = len(kernel) // 2
    found = corrupt(point, "defocus_blur", 5)[0, 0]
    assert torch.allclose(found[16 - half : 17 + half, 16 - half : 17 + half], kernel, atol=1e-6)
    assert float(found.sum()) == pytest.approx(1, abs=1e-5) and int((kernel > 0.01).sum()) == 9


@pytest.mark.parametrize(("degrees", "step"), [(0, (0, -1)), (90, (-1, 0)), (-90, (1, 0)), (45, None)])
def test_a_smeared_point_is_half_a_gaussian_along_the_ray(degrees, step):
    point = np.zeros((41, 41, 1))
    point[20, 20] = 1
    found = smear(point, 6, 2.0, degrees)[..., 0]
    weights = np.exp(-(np.arange(13) ** 2) / 8)
    assert found.sum() == pytest.approx(1)
    if step is None:
        assert found.max() < 0.6 and (found > 0).sum() >= 9
    else:
        line = [found[20 + i * step[0], 20 + i * step[1]] for i in range(13)]
        assert line == pytest.approx(weights / weights.sum())


def test_glass_takes_pixels_from_its_reach_alone():
    places = np.stack(np.mgrid[0:32, 0:32], -1).astype(float)
    found = glass_blur(
        places, (0.05, 1, 1), np.random.default_rng(0)
    )  # 0.05: too small a blur to do anything
    moved = found - places
    assert np.array_equal(found, np.rint(found)) and (moved[2:-1, 2:-1] != 0).any(-1).mean() > 0.6
    assert not moved[:2].any() and not moved[:, :2].any()
    for axis in (0, 1):  # up or down and left or right, by one; further where what was copied is copied on
        share = [(moved[2:-1, 2:-1, axis] == step).mean() for step in (-1, 0)]
        assert min(share) > 0.25


def test_elastic_is_an_affine_map_and_shifts_that_vary():
    """On a ramp, mirrored nowhere near the middle: second differences vanish under the affine map alone."""
    ramp = (np.mgrid[0:64, 0:64] / 64)[[0, 1, 1]].transpose(1, 2, 0)
    for c, bent in (((0.1, 0.03, 0.03), True), ((0, 0.03, 0.03), False)):
        found = elastic_transform(ramp, c, np.random.default_rng(0))[20:44, 20:44]
        assert (np.abs(np.diff(found, 2, 0)).max() > 1e-3) == bent
        assert np.abs(found - ramp[20:44, 20:44]).max() > 0.005


def test_snow_falls_on_both_ways_down():
    """Its streaks are near upright, and the layer is laid on a second time, turned by half."""
    found = snow(np.zeros((64, 64, 1)), (0.1, 0.2, 1, 0.6, 8, 3, 1), np.random.default_rng(0))[..., 0]
    assert np.abs(np.diff(found, 1, 0)).mean() < 0.9 * np.abs(np.diff(found, 1, 1)).mean()
    assert found.max() > 0 and np.allclose(found, found[::-1, ::-1])


def test_zoom_keeps_the_middle_and_moves_the_rim():
    x = pictures(1, 65)
    change = (corrupt(x, "zoom_blur", 3) - x)[0].abs()
    assert float(change[:, 28:37, 28:37].mean()) < 0.5 * float(change.mean())


@pytest.mark.parametrize("kind", ["snow", "fog", "frost"])
def test_weather_is_light_on_black(kind):
    found = corrupt(torch.zeros(8, 3, 32, 32), kind, 5)
    if kind == "fog":  # its brightest value stays
        assert not bool(found.any())
        half = corrupt(torch.full((4, 3, 32, 32), 0.5), kind, 5)
        assert float(half.min()) > 0.1 and 0.35 < float(half.max()) <= 0.5
    else:
        assert 0.05 < float(found.mean()) < 0.6 and float(found.std()) > 0.05


def test_plasma_is_a_height_map_that_decay_makes_smooth():
    rough, smooth = (plasma(100, decay, np.random.default_rng(0)) for decay in (1.2, 3))
    for level in (rough, smooth):
        assert level.shape == (128, 128) and level.min() == 0 and level.max() == 1
        assert np.abs(level - np.roll(level, 1, 0))[0].max() < 0.9  # a torus: no seam
    assert np.abs(np.diff(smooth)).mean() < 0.3 * np.abs(np.diff(rough)).mean()
    frozen = ice(50, 70, np.random.default_rng(0))
    assert frozen.shape == (50, 70) and 0.3 < frozen.mean() < 0.7 and frozen.std() > 0.08


def test_lengths_in_pixels_follow_the_side_above_64():
    assert settings("motion_blur", 5, 32) == settings("motion_blur", 5, 64) == (9, 2.5)
    assert settings("motion_blur", 5, 224) == (20, 15) and settings("motion_blur", 5, 448) == (40, 30)
    assert settings("defocus_blur", 2, 112) == (2, 0.5) and settings("fog", 1, 448) == (1.5, 2)
    assert settings("snow", 1, 112) == (0.1, 0.3, 1.5, 0.5, 5, 2, 0.8)


def test_no_images_are_no_images():
    assert corrupt(torch.zeros(0, 3, 8, 8), "fog", 1).shape == (0, 3, 8, 8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "gausian_noise"}, "did you mean 'gaussian_noise'"),
        ({"kind": "zzz"}, "valid: "),
        ({"severity": 0}, "severity=0 must be one of 1, 2, 3, 4, 5"),
        ({"severity": 6}, "severity=6"),
        ({"severity": 2.5}, "severity=2.5"),
        ({"images": torch.zeros(3, 8, 8)}, r"must be a batch \(N, C, H, W\)"),
        ({"images": torch.zeros(1, 4, 8, 8)}, "4 channels"),
        ({"images": torch.full((1, 3, 8, 8), 255.0)}, "divide them by 255"),
        ({"images": torch.zeros(1, 3, 8, 8, dtype=torch.uint8)}, "uint8"),
        ({"images": torch.zeros(1, 3, 8, 8, dtype=torch.float64)}, "float64"),
        ({"images": torch.full((1, 3, 8, 8), float("nan"))}, "not a number"),
        ({"indices": [0, 1]}, "2 indices for 1 images"),
        ({"indices": [-1]}, "-1 is among them"),
    ],
)
def test_wrong_inputs_are_named(change, said):
    given = {"images": torch.zeros(1, 3, 8, 8), "kind": "fog", "severity": 1} | change
    with pytest.raises(DataError, match=said):
        corrupt(**given)
