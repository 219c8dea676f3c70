"""Sets that overlap, and classes that were never trained: told at the training and at every evaluation."""

import json
import shutil

import pytest

from surgeon.data import load_sets
from surgeon.errors import DataError
from surgeon.recipe import Data
from tests.cli.commandline import invoke
from tests.test_runs_network import SIZE, evaluated, pictures, trained


@pytest.fixture
def data(tmp_path):
    for seed, split in enumerate(("train", "val", "test")):
        pictures(tmp_path / "data" / split, "abc", seed)
    return tmp_path / "data"


def told(notes, words):
    return [n for n in notes if words in n]


@pytest.mark.parametrize(
    ("source", "target", "words", "at_training"),
    [
        ("val", "test", "12 of the 12 test images are pixel by pixel among the validation images", False),
        ("train", "val", "12 of the 12 validation images are pixel by pixel among the training images", True),
        (None, None, "pixel by pixel", False),
    ],
)
def test_sets_that_overlap_are_remarks(data, tmp_path, capsys, source, target, words, at_training):
    if target:
        shutil.rmtree(data / target)
        shutil.copytree(data / source, data / target)
    run = trained(tmp_path / "run", data)
    assert (words in capsys.readouterr().err) is at_training
    notes = evaluated(run, tmp_path / "e").notes
    assert len(told(notes, words)) == (1 if target else 0)
    assert len(told(notes, "pixel by pixel")) == (1 if target else 0)


def test_a_class_without_training_images_is_left_out_everywhere(data, tmp_path):
    shutil.rmtree(data / "train" / "a")
    with pytest.raises(DataError, match="1 empty classes: a. data.faults=skip leaves them out"):
        load_sets(str(data), input_size=SIZE)
    sets = load_sets(str(data), Data(faults="skip"), input_size=SIZE)
    assert sets.classes == ("b", "c") and sets.faults.classes == {"b": 12, "c": 12}
    assert all(sorted({*part.y.tolist()}) == [0, 1] for part in (sets.train, sets.val, sets.test))
    assert sets.faults.counts == {"empty classes": 1, "images of classes without training images": 8}
    run = trained(tmp_path / "run", data, more=["data.faults=skip"])
    found = evaluated(run, tmp_path / "e")
    assert found.summary.clean.n == 8 and found.subject.classes == 2
    assert not told(found.notes, "no training image")


def test_a_class_that_was_asked_for_and_never_trained_is_a_remark(data, tmp_path):
    shutil.rmtree(data / "train" / "a")
    run = trained(tmp_path / "run", data, more=["data.faults=skip", "data.classes=[c, b, a]"])
    (said,) = told(evaluated(run, tmp_path / "e").notes, "no training image")
    assert said.startswith("no training image was of 1 of the 3 classes (a), and 4 of the 12 test images are")


def test_a_class_whose_training_images_cannot_be_read_is_left_out(data):
    for path in (data / "train" / "a").iterdir():
        path.write_bytes(b"no image")
    assert load_sets(str(data), Data(faults="skip"), input_size=SIZE).classes == ("b", "c")


def test_names_that_are_nearly_equal_are_named_together(data):
    (data / "test" / "a").rename(data / "test" / "A")
    with pytest.raises(DataError, match=r"1 empty classes: A \(beside a: one class under two names\?\)"):
        load_sets(str(data), input_size=SIZE)
    lines = load_sets(str(data), Data(faults="skip"), input_size=SIZE).faults.lines()
    assert any("A (beside a" in line for line in lines)


def test_a_class_without_a_name_is_one_of_any_split(tmp_path):
    pytest.importorskip("pyarrow")
    from tests.data.test_classes_by_name import SHADE, table

    order = [*SHADE]
    table(tmp_path / "train.parquet", order, names=[], of=order[:2])
    table(tmp_path / "test.parquet", order, names=[], of=order[:3])
    with pytest.raises(DataError, match="1 empty classes: 2"):
        load_sets(str(tmp_path), input_size=(3, 4, 4))
    sets = load_sets(str(tmp_path), Data(faults="skip"), input_size=(3, 4, 4))
    assert sets.classes == ("0", "1") and sorted({*sets.test.y.tolist()}) == [0, 1]


def test_a_conversion_tells_of_test_images_that_its_network_has_seen(data, tmp_path):
    for split in ("val", "test"):
        shutil.rmtree(data / split)
        shutil.copytree(data / "train", data / split)
    run = trained(tmp_path / "run", data)
    code, out, err = invoke(
        "convert", "noise", run / "trained", "--data", data, "-o", tmp_path / "c", "--json"
    )
    assert code == 0, err
    notes = json.loads(out)["notes"]
    assert told(notes, "test images are pixel by pixel among the images") and told(
        notes, "among the validation"
    )
