"""Accuracy on published shifted sets: against slow sums, and everything that could be counted wrongly is told."""

import json
import math
import shutil

import numpy as np
import published_layouts as write
import pytest
import torch
from PIL import Image
from torch import nn

from surgeon.data.shifted import cifar_c as layout_of_cifar
from surgeon.data.shifted import open_shift
from surgeon.data.shifted.classes import CIFAR10, CIFAR100, CUES, imagenet, imagenet_subset
from surgeon.errors import ArtifactError, DataError, SurgeonError
from surgeon.evaluation import assess, shift_accuracy
from surgeon.pipeline.verifying import verify_folder
from surgeon.recipe import Evaluation
from surgeon.report import report
from surgeon.results.shifted import (
    ALEXNET,
    ALEXNET_CLEAN,
    CORRUPTIONS,
    Shift,
    ShiftRow,
    mean_corruption_error,
    relative_corruption_error,
    shift_words,
)
from surgeon.results.statistics import wilson

IMAGES = 20


@pytest.fixture
def small(monkeypatch):
    """CIFAR-C of 20 test images: two of each of ten classes."""
    monkeypatch.setattr(layout_of_cifar, "IMAGES", IMAGES)


def linear(outputs, side, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, outputs)).eval()


def answer(model, pixels):
    """The class of one picture, one at a time, in float64."""
    x = torch.from_numpy(np.asarray(pixels, dtype=np.float64) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        return model.double()(x)[0]


def figures(found):
    return {(r.part, r.severity): (r.share.k, r.share.n) for r in found.rows}


# CIFAR-10-C and CIFAR-100-C


def test_cifar_10_c_is_a_slow_sum(small, tmp_path):
    labels, arrays = write.cifar_c(tmp_path / "CIFAR-10-C", IMAGES, kinds=(*CORRUPTIONS, "spatter"))
    model = linear(10, 32)
    found = shift_accuracy(model, tmp_path / "CIFAR-10-C", (3, 32, 32), class_names=CIFAR10)
    slow = {
        (kind, s): (
            sum(
                int(answer(model, arrays[kind][(s - 1) * IMAGES + i]).argmax()) == labels[i]
                for i in range(IMAGES)
            ),
            IMAGES,
        )
        for kind in arrays
        for s in range(1, 6)
    }
    assert figures(found) == slow
    errors = [1 - k / n for (kind, _), (k, n) in slow.items() if kind != "spatter"]
    assert math.isclose(found.error, math.fsum(errors) / 75)
    assert (found.name, found.images, found.mce, found.notes) == ("CIFAR-10-C", IMAGES, None, ())
    assert found.whole


def test_labels_follow_the_names_of_outputs(small, tmp_path):
    write.cifar_c(tmp_path, IMAGES, kinds=("fog",))
    model = linear(10, 32)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(3)).tolist()
    moved = linear(10, 32)
    with torch.no_grad():
        moved[1].weight.copy_(model[1].weight[order])
        moved[1].bias.copy_(model[1].bias[order])
    names = [CIFAR10[i] for i in order]
    assert names != list(CIFAR10)
    one = shift_accuracy(model, tmp_path, (3, 32, 32), class_names=CIFAR10)
    other = shift_accuracy(moved, tmp_path, (3, 32, 32), class_names=names)
    assert one == other
    assert figures(shift_accuracy(moved, tmp_path, (3, 32, 32))) != figures(one)


@pytest.mark.parametrize(
    "names, said",
    [
        (("circle", "square", *CIFAR10[2:8], "star", "cross"), "not a set for this network"),
        (("automobile", "airplane", *CIFAR10[2:9], "lorry"), "not a set for this network"),
        ((*CIFAR10[:9], "airplane"), "two outputs are called 'airplane'"),
        (CIFAR10[:9], "9 classes are named"),
    ],
)
def test_other_classes_are_refused(small, tmp_path, names, said):
    write.cifar_c(tmp_path, IMAGES, kinds=("fog",))
    with pytest.raises(DataError, match=said):
        shift_accuracy(linear(10, 32), tmp_path, (3, 32, 32), class_names=names)


def test_what_is_not_known_of_the_order_is_told(small, tmp_path):
    write.cifar_c(tmp_path, IMAGES, kinds=("fog",))
    for names in ((), tuple("0123456789")):
        found = shift_accuracy(linear(10, 32), tmp_path, (3, 32, 32), class_names=names)
        assert any("taken in the order of CIFAR-10's classes" in n for n in found.notes)
    slip = (*CIFAR10[:9], "lorry")
    found = shift_accuracy(linear(10, 32), tmp_path, (3, 32, 32), class_names=slip)
    assert any("called lorry" in n for n in found.notes)
    with pytest.raises(DataError, match="10 classes, and the network 7 outputs"):
        shift_accuracy(linear(7, 32), tmp_path, (3, 32, 32))


def test_cifar_100_c_is_known_by_its_labels(monkeypatch, tmp_path):
    monkeypatch.setattr(layout_of_cifar, "IMAGES", 100)
    labels, arrays = write.cifar_c(tmp_path, 100, classes=100, kinds=("snow",))
    model = linear(100, 32)
    found = shift_accuracy(model, tmp_path, (3, 32, 32), class_names=CIFAR100)
    assert found.name == "CIFAR-100-C" and found.error is None
    assert any("14 of 15 corruptions lack (gaussian_noise, " in n for n in found.notes)
    right = sum(int(answer(model, arrays["snow"][400 + i]).argmax()) == labels[i] for i in range(100))
    assert figures(found)["snow", 5] == (right, 100)


def test_images_of_another_size_are_resized(small, tmp_path):
    labels, arrays = write.cifar_c(tmp_path, IMAGES, kinds=("fog",))
    model = linear(10, 16)
    found = shift_accuracy(model, tmp_path, (3, 16, 16), class_names=CIFAR10)
    right = sum(
        int(answer(model, Image.fromarray(a).resize((16, 16), Image.Resampling.BILINEAR)).argmax()) == label
        for a, label in zip(arrays["fog"][:IMAGES], labels, strict=True)
    )
    assert figures(found)["fog", 1] == (right, IMAGES)


def test_some_of_the_images_are_told_to_be_some(small, tmp_path):
    write.cifar_c(tmp_path, IMAGES, kinds=("fog",))
    found = shift_accuracy(linear(10, 32), tmp_path, (3, 32, 32), class_names=CIFAR10, samples=10)
    assert {n for _, n in figures(found).values()} == {10}
    assert not found.whole and any("10 of 20 images" in n for n in found.notes)


def _truncated(folder):
    file = folder / "fog.npy"
    file.write_bytes(file.read_bytes()[:-1000])


def _empty(folder):
    (folder / "fog.npy").write_bytes(b"")


def _longer(folder):
    with (folder / "fog.npy").open("ab") as file:
        file.write(b"12345")


def _four_severities(folder):
    np.save(folder / "fog.npy", np.load(folder / "fog.npy")[: 4 * IMAGES])


def _four_severities_of_all(folder):
    _four_severities(folder)
    np.save(folder / "labels.npy", np.load(folder / "labels.npy")[: 4 * IMAGES])


def _floats(folder):
    np.save(folder / "fog.npy", np.load(folder / "fog.npy").astype(np.float32))


def _channels_first(folder):
    np.save(folder / "fog.npy", np.load(folder / "fog.npy").transpose(0, 3, 1, 2))


def _unfinished(folder):
    array = np.load(folder / "fog.npy")
    array[-30:] = 0
    np.save(folder / "fog.npy", array)


def _pickled(folder):
    np.save(folder / "fog.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def _unknown(folder):
    shutil.copy(folder / "fog.npy", folder / "foog.npy")


def _other_labels(folder):
    labels = np.load(folder / "labels.npy")
    labels[2 * IMAGES] = (labels[2 * IMAGES] + 1) % 10
    np.save(folder / "labels.npy", labels)


def _unbalanced(folder):
    labels = np.load(folder / "labels.npy")
    labels[labels == 9] = 8
    np.save(folder / "labels.npy", labels)


def _from_one(folder):
    np.save(folder / "labels.npy", np.load(folder / "labels.npy") + 1)


def _no_labels(folder):
    (folder / "labels.npy").unlink()


def _no_corruption(folder):
    (folder / "fog.npy").unlink()


@pytest.mark.parametrize(
    "harm, said",
    [
        (_truncated, r"fog\.npy is damaged or cut short"),
        (_empty, r"fog\.npy is damaged or cut short"),
        (_longer, r"fog\.npy is 5 bytes longer than its 100 images"),
        (_four_severities, r"fog\.npy .*4 severities; expected is uint8 \(100, 32, 32, 3\), five severities"),
        (_four_severities_of_all, r"labels\.npy is uint8 \(80,\)"),
        (_floats, r"fog\.npy is float32"),
        (_channels_first, r"fog\.npy is uint8 \(100, 3, 32, 32\)"),
        (_unfinished, r"fog\.npy ends in images of one colour"),
        (_pickled, r"fog\.npy is damaged or cut short"),
        (_unknown, r"foog\.npy: 'foog' is no corruption; did you mean 'fog'"),
        (_other_labels, r"labels of severity 3 are not those of severity 1, the first at image 0"),
        (_unbalanced, r"labels\.npy has 9 classes from 0 to 8"),
        (_from_one, r"labels\.npy has 10 classes from 1 to 10"),
        (_no_labels, r"labels\.npy is not there; expected is CIFAR-10-C"),
        (_no_corruption, r"has no file of a corruption; expected is CIFAR-10-C"),
    ],
)
def test_a_damaged_cifar_c_is_told(small, tmp_path, harm, said):
    write.cifar_c(tmp_path, IMAGES, kinds=("fog",))
    open_shift(tmp_path)
    harm(tmp_path)
    with pytest.raises(DataError, match=said) as told:
        open_shift(tmp_path)
    assert "\n" not in str(told.value)


def test_files_of_the_published_size_are_mapped_and_not_read(tmp_path):
    """Sparse files of 50,000 images, of which a few are looked at."""
    np.save(tmp_path / "labels.npy", np.tile(np.arange(10_000) % 10, 5).astype(np.uint8))
    array = np.lib.format.open_memmap(
        tmp_path / "fog.npy", mode="w+", dtype=np.uint8, shape=(50_000, 32, 32, 3)
    )
    array[-8:] = np.arange(8 * 3072, dtype=np.uint64).reshape(8, 32, 32, 3) % 251
    array.flush()
    del array
    opened = open_shift(tmp_path)
    assert [(p.name, p.severity) for p in opened.parts] == [("fog", s) for s in range(1, 6)]
    last = opened.parts[4].read([9_999], (3, 32, 32))
    assert float(last.max()) > 0 and float(opened.parts[3].read([9_999], (3, 32, 32)).max()) == 0


# ImageNet-C

WNIDS = ("n01440764", "n02123045", "n04251144")


def test_imagenet_c_is_a_slow_sum_with_its_mce(tmp_path):
    written = write.imagenet_c(tmp_path, WNIDS)
    model = linear(1000, 8, seed=2)
    place = {w: imagenet().index(w) for w in WNIDS}
    with torch.no_grad():  # so that some of the answers are right
        model[1].bias[[*place.values()]] += 1
    found = shift_accuracy(model, tmp_path, (3, 8, 8), class_names=imagenet())
    right = {}
    for path, pixels in written.items():
        kind, severity, wnid = path.relative_to(tmp_path).parts[:3]
        right.setdefault((kind, int(severity)), []).append(int(answer(model, pixels).argmax()) == place[wnid])
    assert figures(found) == {key: (sum(r), len(r)) for key, r in right.items()}
    assert 0 < sum(map(sum, right.values())) < len(written)
    slow, relative = [], []
    clean = 0.24
    for kind in CORRUPTIONS:
        error = math.fsum(1 - sum(right[kind, s]) / len(right[kind, s]) for s in range(1, 6)) / 5
        slow.append(error / ALEXNET[kind])
        relative.append((error - clean) / (ALEXNET[kind] - ALEXNET_CLEAN))
    assert math.isclose(found.mce, math.fsum(slow) / 15)
    assert math.isclose(found.relative_mce(clean), math.fsum(relative) / 15)
    assert not found.whole and any(
        "6 images in each part, and ImageNet-C has 50,000" in n for n in found.notes
    )


RESNET_50 = {
    "gaussian_noise": (0.7048, 80),
    "shot_noise": (0.7270, 82),
    "impulse_noise": (0.7604, 83),
    "defocus_blur": (0.6099, 75),
    "glass_blur": (0.7313, 89),
    "motion_blur": (0.6171, 78),
    "zoom_blur": (0.6344, 80),
    "snow": (0.6759, 78),
    "frost": (0.6245, 75),
    "fog": (0.5410, 66),
    "brightness": (0.3209, 57),
    "contrast": (0.6059, 71),
    "elastic_transform": (0.5454, 85),
    "pixelate": (0.5522, 77),
    "jpeg_compression": (0.4648, 77),
}
"""torchvision's ResNet-50: its errors by RobustBench (mean over severities, 5,000 images, unaggregated_results_2d.csv),
and its corruption errors in percent of AlexNet's by AugMix (arXiv 1912.02781, its table of ImageNet-C, all images)."""


def rows(errors, whole=10**6):
    return [
        ShiftRow(part=k, severity=s, share=wilson(round(whole * (1 - e)), whole))
        for k, e in errors.items()
        for s in range(1, 6)
    ]


def test_mce_of_alexnet_is_one_and_of_resnet_50_what_others_publish():
    assert math.isclose(mean_corruption_error(rows(ALEXNET)), 1, abs_tol=1e-5)
    assert math.isclose(relative_corruption_error(rows(ALEXNET), ALEXNET_CLEAN), 1, abs_tol=1e-4)
    assert mean_corruption_error(rows(ALEXNET)[:-1]) is None
    errors = {k: e for k, (e, _) in RESNET_50.items()}
    for kind, (error, published) in RESNET_50.items():
        assert abs(100 * error / ALEXNET[kind] - published) < 1.5, kind
    assert abs(mean_corruption_error(rows(errors)) - 0.767) < 0.005


def test_mce_by_hand():
    """Errors of one half everywhere: 0.5 / 0.886428 + 0.5 / 0.894468 + … + 0.5 / 0.606500, by the authors' AlexNet."""
    halves = dict.fromkeys(CORRUPTIONS, 0.5)
    assert math.isclose(mean_corruption_error(rows(halves)), MCE_OF_HALVES, abs_tol=5e-6)
    # fog alone at 0.25: 0.25 / 0.819324 less, shared by fifteen
    fog = mean_corruption_error(rows(halves | {"fog": 0.25}))
    assert math.isclose(fog, MCE_OF_HALVES - 0.25 / 0.819324 / 15, abs_tol=5e-6)


MCE_OF_HALVES = 0.646726


@pytest.mark.parametrize("name, letter", [("imagenet-a", "a"), ("imagenet-r", "r"), ("sketch", None)])
def test_archives_are_read_as_they_are_unpacked(tmp_path, name, letter):
    wnids = imagenet_subset(letter) if letter else imagenet()
    opened = open_shift(write.archive(tmp_path, name, wnids))
    assert opened.name == {"a": "ImageNet-A", "r": "ImageNet-R", None: "ImageNet-Sketch"}[letter]
    assert [opened.classes[k] for k in opened.labels.tolist()] == sorted(wnids)
    (part,) = opened.parts
    assert part.read([0, len(wnids) - 1], (3, 8, 8)).shape == (2, 3, 8, 8)


def test_images_in_the_folders_of_the_archives_are_found(tmp_path):
    write.imagenet_c(tmp_path, WNIDS[:1], each=1, kinds=("fog", "snow"))
    for kind in ("fog", "snow"):
        (tmp_path / "weather").mkdir(exist_ok=True)
        (tmp_path / kind).rename(tmp_path / "weather" / kind)
    assert len(open_shift(tmp_path).parts) == 10
    shutil.copytree(tmp_path / "weather" / "fog", tmp_path / "fog")
    with pytest.raises(DataError, match="fog lies there twice"):
        open_shift(tmp_path)


@pytest.mark.parametrize(
    "harm, said",
    [
        (lambda f: shutil.rmtree(f / "fog/5"), r"fog lacks 5; expected are the severities 1, 2, 3, 4, 5"),
        (lambda f: (f / "fog/6").mkdir(), r"fog has 6 beside"),
        (lambda f: (f / "fog").rename(f / "fogg"), r"'fogg' is no corruption; did you mean 'fog'"),
        (
            lambda f: (f / "fog/3/n01440764/ILSVRC2012_val_00000000.png").unlink(),
            r"fog/3 lacks 1 images of .*snow/1, the first n01440764/ILSVRC2012_val_00000000\.png",
        ),
        (lambda f: shutil.rmtree(f / "snow/4/n02123045"), r"snow/4 lacks 2 images"),
        (
            lambda f: shutil.copy(
                f / "snow/3/n01440764/ILSVRC2012_val_00000000.png", f / "snow/3/n01440764/b.png"
            ),
            r"snow/3 has 1 images more than .*snow/1, the first n01440764/b\.png",
        ),
        (lambda f: (f / "fog/1/n01440764").rename(f / "fog/1/n99999999"), r"n99999999 is none of ImageNet's"),
        (
            lambda f: shutil.copytree(f / "fog/1/n01440764", f / "fog/1/n01440764-copy"),
            r"n01440764-copy is none of ImageNet's 1,000 classes",
        ),
        (
            lambda f: shutil.copy(f / "fog/1/n01440764/ILSVRC2012_val_00000000.png", f / "fog/1/loose.png"),
            r"loose\.png lies in no folder of a class",
        ),
        (lambda f: (f / "fog/1/n01440764/deeper").mkdir(), r"n01440764 holds a folder, deeper"),
    ],
)
def test_an_incomplete_imagenet_c_is_told(tmp_path, harm, said):
    write.imagenet_c(tmp_path, WNIDS, kinds=("fog", "snow"))
    open_shift(tmp_path)
    harm(tmp_path)
    with pytest.raises(DataError, match=said) as told:
        open_shift(tmp_path)
    assert "\n" not in str(told.value)


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    write.imagenet_c(tmp_path, WNIDS, kinds=("fog",))
    file = tmp_path / "fog/2/n02123045/ILSVRC2012_val_00010001.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(DataError, match=r"fog/2/n02123045/ILSVRC2012_val_00010001\.png cannot be read"):
        shift_accuracy(linear(1000, 8), tmp_path, (3, 8, 8))


# ImageNet-A, -R, -Sketch, Stylized


@pytest.mark.parametrize("letter", ["a", "r"])
def test_a_subset_is_answered_among_its_own_classes(tmp_path, letter):
    wnids = imagenet_subset(letter)
    written = write.classes_of_imagenet(tmp_path, wnids)
    model = linear(1000, 8)
    with torch.no_grad():  # a class outside of the subset, by which all answers would be wrong
        model[1].bias[next(i for i, w in enumerate(imagenet()) if w not in wnids)] += 100
    found = shift_accuracy(model, tmp_path, (3, 8, 8), class_names=imagenet())
    places = [imagenet().index(w) for w in wnids]
    right = sum(
        wnids[int(answer(model, pixels)[places].argmax())] == path.parent.name
        for path, pixels in written.items()
    )
    assert right > 0 or letter == "r"
    assert figures(found) == {(f"ImageNet-{letter.upper()}", None): (right, 200)}
    assert "among its 200 classes" in "; ".join(shift_words(found))
    assert not found.whole


def test_outputs_by_wordnet_id_in_any_order(tmp_path):
    wnids = imagenet_subset("a")
    write.classes_of_imagenet(tmp_path, wnids)
    model, moved = linear(1000, 8), linear(1000, 8)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        moved[1].weight.copy_(model[1].weight[order])
        moved[1].bias.copy_(model[1].bias[order])
    names = [imagenet()[i] for i in order]
    assert shift_accuracy(model, tmp_path, (3, 8, 8), class_names=imagenet()) == shift_accuracy(
        moved, tmp_path, (3, 8, 8), class_names=names
    )
    with pytest.raises(
        DataError, match="no output for 1 of the 200 classes of ImageNet-A, such as n01498041"
    ):
        shift_accuracy(
            linear(999, 8), tmp_path, (3, 8, 8), class_names=[n for n in imagenet() if n != wnids[0]]
        )
    with pytest.raises(DataError, match="ImageNet's 1,000 outputs, and this one has 10"):
        shift_accuracy(linear(10, 8), tmp_path, (3, 8, 8))


def test_all_classes_are_sketches_or_stylized_by_the_name_of_the_folder(tmp_path):
    written = write.classes_of_imagenet(tmp_path / "sketch", imagenet())
    model = linear(1000, 8)
    found = shift_accuracy(model, tmp_path / "sketch", (3, 8, 8))
    right = sum(imagenet()[int(answer(model, p).argmax())] == path.parent.name for path, p in written.items())
    assert figures(found) == {("ImageNet-Sketch", None): (right, 1000)}
    assert any("1,000 images, and ImageNet-Sketch has 50,889" in n for n in found.notes)
    assert any("taken in the order of ImageNet's WordNet ids" in n for n in found.notes)
    (tmp_path / "sketch").rename(tmp_path / "stylized-val")
    assert open_shift(tmp_path / "stylized-val").name == "Stylized ImageNet"


def test_a_class_that_lacks_or_is_too_many_is_told(tmp_path):
    wnids = imagenet_subset("a")
    write.classes_of_imagenet(tmp_path, wnids)
    shutil.rmtree(tmp_path / wnids[7])
    with pytest.raises(DataError, match=f"199 classes, .*for ImageNet-A it lacks {wnids[7]}"):
        open_shift(tmp_path)
    extra = next(w for w in imagenet() if w not in wnids)
    write.classes_of_imagenet(tmp_path, [wnids[7], extra])
    with pytest.raises(DataError, match=f"201 classes, .*it has {extra} beside"):
        open_shift(tmp_path)
    shutil.rmtree(tmp_path / extra)
    (tmp_path / wnids[3] / f"{wnids[3]}_0.png").unlink()
    with pytest.raises(DataError, match=f"{wnids[3]} has no images"):
        open_shift(tmp_path)


def test_the_shorter_side_is_resized_and_the_centre_cropped(tmp_path):
    """As torchvision's Resize(256) and CenterCrop(224) do: what lies outside of the centre is not seen."""
    write.classes_of_imagenet(tmp_path, imagenet_subset("a"))
    wide = np.zeros((64, 256, 3), dtype=np.uint8)
    wide[:, 96:160] = 255
    file = next((tmp_path / imagenet_subset("a")[0]).iterdir())
    Image.fromarray(wide).save(file)
    seen = open_shift(tmp_path).parts[0].read([0], (3, 28, 28))[0]
    assert float(seen.min()) > 0.99


# cue conflicts


def test_decisions_by_shape_and_texture_are_a_slow_sum(tmp_path):
    written = write.cue_conflict(tmp_path)
    model = linear(1000, 8, seed=4)
    with torch.no_grad():  # probabilities that differ among the classes of images
        model[1].weight.mul_(6)
    found = shift_accuracy(model, tmp_path, (3, 8, 8), class_names=imagenet())
    counts = {"shape": 0, "texture": 0, "neither": 0, "same": 0}
    for path, pixels in written.items():
        shares = answer(model, pixels).softmax(0)
        means = {c: float(sum(shares[i] for i in members)) / len(members) for c, members in CUES.items()}
        said = max(means, key=means.get)
        shape, texture = ("".join(c for c in part if c.isalpha()) for part in path.stem.split("-"))
        key = "same" if shape == texture else {shape: "shape", texture: "texture"}.get(said, "neither")
        counts[key] += 1
    cues = found.cues
    assert (cues.shape, cues.texture, cues.neither, cues.left_out) == tuple(counts.values())
    assert cues.left_out == 16 and cues.shape + cues.texture > 0
    assert (cues.share.k, cues.share.n) == (counts["shape"], counts["shape"] + counts["texture"])
    assert "shape share" in "; ".join(shift_words(found)) and not found.whole and found.error is None


def test_the_sixteen_classes_are_disjoint_and_named_as_wordnet_names_them():
    from timm.data import ImageNetInfo

    members = [i for many in CUES.values() for i in many]
    assert len(members) == len({*members}) == 207 and list(CUES) == sorted(CUES)
    info = ImageNetInfo()
    assert "African elephant" in info.index_to_description(CUES["elephant"][1])
    words = {c: [info.index_to_description(i, detailed=True).lower() for i in m] for c, m in CUES.items()}
    for word in ("bear", "bottle", "clock", "elephant", "keyboard"):
        assert sum(word in text for text in words[word]) >= len(words[word]) - 2, word
    assert sum("dog" in t or "terrier" in t or "hound" in t or "spaniel" in t for t in words["dog"]) > 80


@pytest.mark.parametrize(
    "harm, said",
    [
        (lambda f: shutil.rmtree(f / "cat"), "cat lack"),
        (lambda f: (f / "cats").mkdir(), "'cats' is none of the 16 classes"),
        (
            lambda f: next((f / "cat").iterdir()).rename(f / "cat/cat1.png"),
            "does not say a shape and a texture",
        ),
        (
            lambda f: next((f / "cat").iterdir()).rename(f / "cat/dog1-cat2.png"),
            "has the shape dog by its name, and cat by its folder",
        ),
        (lambda f: next((f / "cat").iterdir()).rename(f / "cat/cat1-lamp2.png"), "does not say"),
        (
            lambda f: shutil.copy(*(f / "cat" / n for n in ("cat8-cat9.png", "cat8-cat9.jpg"))),
            "are one image; keep one",
        ),
    ],
)
def test_cue_conflicts_that_do_not_say_what_they_are(tmp_path, harm, said):
    write.cue_conflict(tmp_path)
    harm(tmp_path)
    with pytest.raises(DataError, match=said):
        open_shift(tmp_path)


# by a path


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda p: None, "set is not there; expected is one of: CIFAR-10-C and CIFAR-100-C"),
        (lambda p: p.write_bytes(b""), "is a file: archives are not unpacked"),
        (lambda p: p.mkdir(), "is no published shifted set; Expected is one of"),
        (lambda p: (p / "sketch/n01440764").mkdir(parents=True), r"did you mean .*set/sketch\?"),
    ],
)
def test_what_is_no_set_is_told_with_the_layouts(tmp_path, make, said):
    make(tmp_path / "set")
    with pytest.raises(DataError, match=said) as told:
        open_shift(tmp_path / "set")
    for name in ("labels.npy", "gaussian_noise/1/n01440764", "FOLDER/n01440764", "cat7-elephant1.png"):
        assert name in str(told.value)


# in an evaluation


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(7)
    return torch.rand(12, 3, 32, 32, generator=generator), torch.arange(12) % 10


def settings(*folders, **more):
    return Evaluation(suite="basic", attacks=["fgsm"], shifts=[*map(str, folders)], **more)


def test_an_evaluation_keeps_them_shows_them_and_verifies_them(small, tmp_path, images):
    write.cifar_c(tmp_path / "CIFAR-10-C", IMAGES)
    model, folder = linear(10, 32), tmp_path / "e"
    found = assess(model, *images, settings(tmp_path / "CIFAR-10-C"), folder, class_names=CIFAR10)
    (shift,) = found.shifts
    assert shift == shift_accuracy(model, tmp_path / "CIFAR-10-C", (3, 32, 32), class_names=CIFAR10)
    page = report([folder], tmp_path / "page.html").read_text()
    assert "CIFAR-10-C" in page and "jpeg compression" in page
    assert f"{100 * shift.error:.1f}" in page
    checks = {c.name: c for c in verify_folder(folder)}
    assert checks["shifts"].ok and "counted again" in checks["shifts"].detail
    shutil.rmtree(tmp_path / "CIFAR-10-C")  # a finished evaluation needs the set no more
    again = assess(model, *images, settings(tmp_path / "CIFAR-10-C"), folder, class_names=CIFAR10)
    assert again == found


def test_a_count_that_was_changed_is_found(small, tmp_path, images):
    write.cifar_c(tmp_path / "c", IMAGES, kinds=("fog",))
    folder = tmp_path / "e"
    assess(linear(10, 32), *images, settings(tmp_path / "c"), folder, class_names=CIFAR10)
    for name in ("evaluation.json", "shifts.json"):
        held = json.loads((folder / name).read_text())
        row = (held["shifts"][0] if name == "evaluation.json" else held[0])["rows"][2]
        row["share"] = wilson(IMAGES, IMAGES).model_dump()
        (folder / name).write_text(json.dumps(held))
    assert {c.name: c.ok for c in verify_folder(folder)}["shifts"] is False


def test_a_killed_evaluation_goes_on_where_it_stopped(small, tmp_path, images, monkeypatch):
    write.cifar_c(tmp_path / "c", IMAGES, kinds=("fog", "snow"))
    folder, model = tmp_path / "e", linear(10, 32)
    from surgeon.evaluation.beyond import published

    read, decided = published._decisions, []

    def dies(model, part, *more):
        if len(decided) == 6:
            raise KeyboardInterrupt
        decided.append((part.name, part.severity))
        return read(model, part, *more)

    def goes_on(model, part, *more):
        decided.append((part.name, part.severity))
        return read(model, part, *more)

    monkeypatch.setattr(published, "_decisions", dies)
    with pytest.raises(KeyboardInterrupt):
        assess(model, *images, settings(tmp_path / "c"), folder, class_names=CIFAR10)
    monkeypatch.setattr(published, "_decisions", goes_on)
    found = assess(model, *images, settings(tmp_path / "c"), folder, class_names=CIFAR10)
    assert len(decided) == len({*decided}) == 10
    assert found.shifts[0] == shift_accuracy(model, tmp_path / "c", (3, 32, 32), class_names=CIFAR10)


def test_parts_of_other_images_are_not_gone_on_with(small, tmp_path, images, monkeypatch):
    write.cifar_c(tmp_path / "c", IMAGES, kinds=("fog",))
    folder, model = tmp_path / "e", linear(10, 32)
    from surgeon.evaluation.beyond import published

    add = published._Kept.add

    def dies(self, part, said):
        add(self, part, said)
        raise KeyboardInterrupt

    monkeypatch.setattr(published._Kept, "add", dies)
    with pytest.raises(KeyboardInterrupt):
        assess(model, *images, settings(tmp_path / "c"), folder)
    monkeypatch.undo()
    monkeypatch.setattr(layout_of_cifar, "IMAGES", IMAGES)
    write.cifar_c(tmp_path / "c", IMAGES, kinds=("fog",), seed=1)
    with pytest.raises(ArtifactError, match="was measured on other images"):
        assess(model, *images, settings(tmp_path / "c"), folder)


def test_a_wrong_path_leaves_the_folder_free(small, tmp_path, images):
    write.cifar_c(tmp_path / "c", IMAGES, kinds=("fog",))
    with pytest.raises(DataError, match="is not there"):
        assess(linear(10, 32), *images, settings(tmp_path / "d"), tmp_path / "e")
    with pytest.raises(DataError, match="not a set for this network"):
        other = (*"abcdefghij",)
        assess(linear(10, 32), *images, settings(tmp_path / "c"), tmp_path / "e", class_names=other)
    assert assess(linear(10, 32), *images, settings(tmp_path / "c"), tmp_path / "e").shifts


def test_a_set_twice_is_refused():
    with pytest.raises(SurgeonError, match="a folder twice"):
        settings("c", "c")


def test_a_shift_is_read_again_as_it_was_written():
    shift = Shift(name="x", kind="cifar-c", source="s", contents="", images=1, whole=False)
    assert Shift.model_validate_json(shift.model_dump_json()) == shift


def test_the_command_line_measures_and_prints_them(small, tmp_path):
    from click.testing import CliRunner

    from surgeon.cli import group

    write.cifar_c(tmp_path / "c", IMAGES)
    order = [
        "evaluate",
        "zoo/lenet5",
        "--data",
        "digits",
        "--suite",
        "basic",
        "--samples",
        "10",
        "--eps",
        "0.05",
    ]
    done = CliRunner().invoke(
        group, [*order, "--shift", str(tmp_path / "c"), "-o", str(tmp_path / "e")], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "CIFAR-10-C, 20 images in each part; mean error over 15 corruptions and 5 severities" in said
    assert "jpeg compression" in said and "taken in the order of CIFAR-10's classes" in said
    wrong = CliRunner().invoke(group, [*order, "--shift", str(tmp_path / "d"), "-o", str(tmp_path / "f")])
    assert wrong.exit_code == 2 and "is not there; expected is one of" in wrong.output
    assert not (tmp_path / "f" / "settings.json").exists()
