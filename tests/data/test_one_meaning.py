"""Columns, links and names with two meanings are refused, and not read in one of them."""

import io

import numpy
import pytest
from PIL import Image

from surgeon.data import load_sets
from surgeon.errors import DataError
from tests.data.test_whole_sources import folder, table

SIZE = (1, 4, 4)


@pytest.mark.parametrize("twice", ["label", "image"])
def test_two_columns_of_one_name_are_refused(twice, tmp_path):
    import pyarrow
    from pyarrow import parquet

    content = io.BytesIO()
    Image.fromarray(numpy.zeros((4, 4), numpy.uint8)).save(content, "png")
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    images = pyarrow.array([{"bytes": content.getvalue(), "path": None}] * 8, kind)
    first, second = (pyarrow.array([k % 2 for k in range(n, n + 8)]) for n in (0, 1))
    more = images if twice == "image" else second
    names = ["image", "label", twice]
    parquet.write_table(pyarrow.Table.from_arrays([images, first, more], names), tmp_path / "train.parquet")
    for source in (tmp_path, tmp_path / "train.parquet"):
        with pytest.raises(DataError, match=f"has 2 columns '{twice}': keep the one that is right"):
            load_sets(str(source), input_size=SIZE)


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_one_file_in_two_classes_is_refused_and_twice_in_one_is_not(link, tmp_path):
    folder(tmp_path)
    one, other = sorted(p for p in tmp_path.iterdir() if p.is_dir())[:2]
    file = sorted(one.iterdir())[0]
    getattr(one / f"again{file.suffix}", link)(file)
    before = load_sets(str(tmp_path), input_size=SIZE).faults.images
    getattr(other / f"again{file.suffix}", link)(file)
    with pytest.raises(DataError, match=r"again.* are one file in two classes"):
        load_sets(str(tmp_path), input_size=SIZE)
    (other / f"again{file.suffix}").unlink()
    assert load_sets(str(tmp_path), input_size=SIZE).faults.images == before


@pytest.mark.parametrize("name", ["dev", "eval", "set-dev", "Evaluation"])
def test_files_of_splits_that_are_not_known_are_no_training_images(name, tmp_path):
    table(tmp_path / "more.parquet")
    assert load_sets(str(tmp_path), input_size=SIZE).faults.images == 8
    table(tmp_path / f"{name}.parquet", first=100)
    with pytest.raises(DataError, match=rf"{name}\.parquet, and all would be training images"):
        load_sets(str(tmp_path), input_size=SIZE)
    assert load_sets(str(tmp_path / f"{name}.parquet"), input_size=SIZE).faults.images == 8


@pytest.mark.parametrize("names", [("fold0", "fold1"), ("dev", "eval"), ("Part 1", "part 2")])
def test_folders_of_parts_are_no_classes(names, tmp_path):
    for name in names:
        folder(tmp_path / name)
    with pytest.raises(DataError, match=rf"{names[0]}/, {names[1]}/, which would be taken for classes"):
        load_sets(str(tmp_path), input_size=SIZE)
    assert load_sets(str(tmp_path / names[0]), input_size=SIZE).faults.images == 8


def test_classes_that_are_called_so_and_have_no_folders_are_classes(tmp_path):
    folder(tmp_path)
    for n, path in enumerate(sorted(p for p in tmp_path.iterdir() if p.is_dir())):
        path.rename(tmp_path / f"batch{n}")
    assert load_sets(str(tmp_path), input_size=SIZE).classes[:2] == ("batch0", "batch1")


def test_a_page_or_an_export_among_images_changes_nothing(tmp_path):
    from surgeon.data import contents_of, labelled

    folder(tmp_path)
    before = contents_of(labelled(tmp_path, SIZE))
    for name in ("report.html", "network.onnx", "network.pt2"):
        for place in (tmp_path, tmp_path / "a"):
            (place / name).write_bytes(b"no image")
    assert contents_of(labelled(tmp_path, SIZE)) == before
