"""Accuracy on published shifted sets: against slow sums, and everything that could be counted wrongly is told."""

import math
import shutil

import numpy as np
import published_layouts as write
import pytest
import torch
from PIL import Image
from published_pixels import IMAGES, answer, figures, linear

from surgeon.data.shifted import cifar_c as layout_of_cifar
from surgeon.data.shifted import open_shift
from surgeon.data.shifted.classes import CIFAR10, CIFAR100
from surgeon.errors import DataError
from surgeon.evaluation import shift_accuracy
from surgeon.results.shifted import (
    CORRUPTIONS,
)

# CIFAR-10-C and CIFAR-100-C


def test_cifar_10_c_is_a_slow_sum(small_cifar, tmp_path):
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


def test_labels_follow_the_names_of_outputs(small_cifar, tmp_path):
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
def test_other_classes_are_refused(small_cifar, tmp_path, names, said):
    write.cifar_c(tmp_path, IMAGES, kinds=("fog",))
    with pytest.raises(DataError, match=said):
        shift_accuracy(linear(10, 32), tmp_path, (3, 32, 32), class_names=names)


def test_what_is_not_known_of_the_order_is_told(small_cifar, tmp_path):
    write.cifar_c(tmp_path, IMAGES, kinds=("fog",))
    said = {
        (): "no names say which output means which class",
        tuple("0123456789"): "such as handwritten digits",
    }
    for names, text in said.items():
        found = shift_accuracy(linear(10, 32), tmp_path, (3, 32, 32), class_names=names)
        (note,) = [n for n in found.notes if "taken in the order of CIFAR-10's classes" in n]
        assert text in note and ("no names say" in note) == (not names)
    more = shift_accuracy(linear(10, 32), tmp_path, (3, 32, 32), class_names=CIFAR10, samples=IMAGES + 1)
    assert f"{IMAGES + 1} images of each part were asked for, and there are {IMAGES}" in more.notes
    assert more.images == IMAGES
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


def test_images_of_another_size_are_resized(small_cifar, tmp_path):
    labels, arrays = write.cifar_c(tmp_path, IMAGES, kinds=("fog",))
    model = linear(10, 16)
    found = shift_accuracy(model, tmp_path, (3, 16, 16), class_names=CIFAR10)
    right = sum(
        int(answer(model, Image.fromarray(a).resize((16, 16), Image.Resampling.BILINEAR)).argmax()) == label
        for a, label in zip(arrays["fog"][:IMAGES], labels, strict=True)
    )
    assert figures(found)["fog", 1] == (right, IMAGES)


def test_some_of_the_images_are_told_to_be_some(small_cifar, tmp_path):
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
def test_a_damaged_cifar_c_is_told(small_cifar, tmp_path, harm, said):
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


# by a path


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda p: None, "set is not there; expected is one of: CIFAR-10-C and CIFAR-100-C"),
        (lambda p: p.write_bytes(b""), "is a file: archives are not unpacked"),
        (lambda p: p.mkdir(), "is not a published shifted set; expected is one of"),
        (lambda p: (p / "sketch/n01440764").mkdir(parents=True), r"did you mean .*set/sketch\?"),
    ],
)
def test_what_is_no_set_is_told_with_the_layouts(tmp_path, make, said):
    make(tmp_path / "set")
    with pytest.raises(DataError, match=said) as told:
        open_shift(tmp_path / "set")
    for name in ("labels.npy", "gaussian_noise/1/n01440764", "FOLDER/n01440764", "cat7-elephant1.png"):
        assert name in str(told.value)
