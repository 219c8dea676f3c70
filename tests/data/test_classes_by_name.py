"""Parts of one source that number their classes differently are joined by the classes' names."""

import io
import json
import tarfile

import pytest
from PIL import Image

from surgeon.data import held_out, load_sets
from surgeon.errors import DataError
from surgeon.pipeline.origin import class_order
from surgeon.recipe import Data

pyarrow = pytest.importorskip("pyarrow")
SIZE = (3, 4, 4)
SHADE = {"ape": 0, "bee": 60, "cat": 120, "dog": 180}
"""The red of a class's images, so that a wrong label shows."""


def png(name, number):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (SHADE[name] + number, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def table(path, order, per_class=4, names=None, of=None):
    """A parquet file whose labels follow `order`, with the class names `names`."""
    from pyarrow import parquet

    rows = [(c, i) for i in range(per_class) for c in of or order]
    image = pyarrow.array(
        [{"bytes": png(c, i), "path": None} for c, i in rows],
        pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]),
    )
    found = pyarrow.table({"image": image, "label": [order.index(c) for c, _ in rows]})
    if names != []:
        label = {"names": list(names or order), "_type": "ClassLabel"}
        info = {"info": {"features": {"image": {"_type": "Image"}, "label": label}}}
        found = found.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(exist_ok=True)
    parquet.write_table(found, path)


def names_of(part, classes):
    return [(int(x[0, 0, 0]) // 60, classes[int(y)]) for x, y in zip(part.x, part.y, strict=True)]


def fits(part, classes):
    place = {shade // 60: name for name, shade in SHADE.items()}
    return all(place[shade] == name for shade, name in names_of(part, classes))


@pytest.mark.parametrize("files", [("train", "test"), ("train-00000-of-00002", "train-00001-of-00002")])
def test_files_with_their_own_order_of_names(tmp_path, files):
    for file, order in zip(files, (["ape", "bee", "cat"], ["cat", "bee", "ape"]), strict=True):
        table(tmp_path / f"{file}.parquet", order)
    sets = load_sets(str(tmp_path), Data(val_share=0.25), input_size=SIZE)
    assert sets.classes == ("ape", "bee", "cat")
    assert all(fits(part, sets.classes) for part in (sets.train, sets.val, sets.test))
    assert sum(len(part.x) for part in (sets.train, sets.val, sets.test)) == 24
    test = held_out(str(tmp_path), SIZE)
    assert [round(float(x[0, 0, 0]) * 255) // 60 for x in test.x] == test.y.tolist()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            ["ape", "bee", "dog"],
            r"train.parquet has ape, bee, cat .* test.parquet has ape, bee, dog .*cat in the",
        ),
        ([], "test.parquet has no names"),
        (["ape", "ape", "cat"], "test.parquet has the name ape for its classes 0 and 1"),
        (["ape", "", "cat"], "test.parquet has an empty name for its class 1"),
    ],
)
def test_names_that_cannot_be_joined_are_refused_with_both(tmp_path, names, told):
    table(tmp_path / "train.parquet", ["ape", "bee", "cat"])
    table(tmp_path / "test.parquet", ["ape", "bee", "cat"], names=names)
    for read in (lambda: load_sets(str(tmp_path), input_size=SIZE), lambda: held_out(str(tmp_path), SIZE)):
        with pytest.raises(DataError, match=told):
            read()


def test_tars_without_a_class_number_the_others_by_name(tmp_path):
    for split, classes in (("train", ("ape", "bee", "cat")), ("test", ("bee", "cat"))):
        (tmp_path / split).mkdir()
        with tarfile.open(tmp_path / split / "all.tar", "w") as tar:
            for c in classes:
                for i in range(4):
                    info = tarfile.TarInfo(f"{c}/{i}.png")
                    info.size = len(png(c, i))
                    tar.addfile(info, io.BytesIO(png(c, i)))
    sets = load_sets(str(tmp_path), Data(val_share=0.25), input_size=SIZE)
    assert sets.classes == ("ape", "bee", "cat")
    assert sorted({name for _, name in names_of(sets.test, sets.classes)}) == ["bee", "cat"]
    assert all(fits(part, sets.classes) for part in (sets.train, sets.val, sets.test))


def test_one_name_for_two_classes_is_matched_with_no_output():
    assert class_order(("a", "b", "b"), ("b", "a")) is None
    assert class_order(("a", "b"), ("b", "b")) is None
    assert class_order(("a", "b", "b"), ("a", "b", "b")) == [0, 1, 2]
    assert class_order(("a", "b"), ("b", "a")) == [1, 0]
