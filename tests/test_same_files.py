"""Sets that are not in memory are compared by their files, and nearly equal names of classes are told."""

import pytest
from PIL import Image

from surgeon.data import load_sets
from surgeon.data.lazy_images import Records
from surgeon.data.same_files import shared_files
from surgeon.pipeline.tested import on_sets, validated_by_training
from surgeon.recipe import Data

SIZE = (1, 4, 4)


def fill(folder, values):
    """An image of each value, two classes; BMP files are all of one size."""
    for v in values:
        file = folder / "ab"[v % 2] / f"{v:03}.bmp"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), v).save(file)


@pytest.fixture
def source(tmp_path):
    fill(tmp_path / "train", range(20))
    fill(tmp_path / "val", range(18, 24))
    fill(tmp_path / "test", range(14, 30))
    return tmp_path


@pytest.mark.parametrize("kept", ["never", "always"])
def test_overlaps_are_remarks_in_memory_and_out_of_it(source, kept):
    sets = load_sets(str(source), Data(in_memory=kept), input_size=SIZE)
    test = sets.test if kept == "always" else sets.test.in_memory()
    told = " ".join(on_sets(sets, test.x, test.y))
    of = {
        "never": ("6 of 16 compared test", "2 of 6 compared"),
        "always": ("6 of the 16 test", "2 of the 6"),
    }[kept]
    assert all(word in told for word in of)
    assert "among the validation images" in told
    assert len(validated_by_training(sets)) == 1
    nothing = sets.__class__(sets.train, None, None, sets.classes, sets.faults)
    assert validated_by_training(nothing) == ()


def test_parts_are_looked_for_evenly_and_files_that_are_gone_are_among_none(source):
    sets = load_sets(str(source), Data(in_memory="never"), input_size=SIZE)
    assert shared_files(sets.train, sets.test) == (6, 16)
    assert shared_files(sets.train, sets.test, most=4).compared == 4
    (source / "test/a/014.bmp").unlink()
    assert shared_files(sets.train, sets.test) == (5, 15)
    assert shared_files(sets.train, Records([], SIZE)) == (0, 0)
    twice = Records([*sets.train.entries, *sets.train.entries], SIZE)
    assert shared_files(twice, sets.test) == (5, 15)


def test_nearly_equal_names_of_classes_are_told(tmp_path):
    for name in ("Cat", "cat", "e\u0301", "\u00e9", "dog", "1-2", "12"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.new("L", (4, 4), i).save(tmp_path / name / f"{i}.png")
    told = [
        t for t in validated_by_training(load_sets(str(tmp_path), input_size=SIZE)) if "names of classes" in t
    ]
    assert (
        len(told) == 1
        and "Cat and cat" in told[0]
        and "e\u0301 and \u00e9" in told[0]
        and "dog" not in told[0]
        and "12" not in told[0]
    )
