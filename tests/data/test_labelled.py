"""Images by name."""

import builtins
import io

import pytest
import torch
from PIL import Image

from surgeon.data import digits, images, labelled
from surgeon.errors import DataError, MissingPackageError, SurgeonError


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("cat", (255, 0, 0)), ("dog", (0, 0, 255))):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (10 + i, 8), colour).save(tmp_path / name / f"{i}.png")
    return tmp_path


def test_the_digits_are_all_there_split_and_in_range():
    sets = digits(16)
    assert sum(len(s.x) for s in sets.values()) == 1797
    for s in sets.values():
        assert s.x.shape[1:] == (1, 16, 16)
        assert s.x.dtype == torch.float32
        assert float(s.x.min()) >= 0
        assert float(s.x.max()) <= 1
        assert set(s.y.tolist()) == set(range(10))
    assert torch.equal(digits(16)["val"].y, sets["val"].y)


def test_a_folder_gives_classes_by_sub_folder(folder):
    found = labelled(folder, (3, 8, 8))
    assert found.x.shape == (6, 3, 8, 8)
    for image, label in zip(found.x, found.y, strict=True):
        assert [float(c.mean()) for c in image] == [float(label == 0), 0.0, float(label == 1)]
    assert images(folder, 4, (1, 8, 8)).shape == (4, 1, 8, 8)
    assert torch.equal(images(folder, 4, (3, 8, 8), seed=1), images(folder, 4, (3, 8, 8), seed=1))


def test_a_parquet_file_in_the_hugging_face_layout(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def png(value):
        buffer = io.BytesIO()
        Image.new("L", (4, 4), value).save(buffer, "PNG")
        return {"bytes": buffer.getvalue(), "path": None}

    table = pyarrow.table({"image": [png(0), png(255)], "label": [3, 7]})
    parquet.write_table(table, tmp_path / "x.parquet")
    found = labelled(tmp_path / "x.parquet", (1, 4, 4))
    assert {(float(i.mean()), int(y)) for i, y in zip(found.x, found.y, strict=True)} == {(0.0, 3), (1.0, 7)}


def test_faults_are_named(folder, tmp_path):
    with pytest.raises(
        DataError, match="is not a source of images; give 'digits', a folder of images, or a .parquet file"
    ):
        images("cifar", 4, (3, 8, 8))
    with pytest.raises(DataError, match=r"images are \(1 or 3, H, W\), not \(4, 8, 8\)"):
        images("digits", 4, (4, 8, 8))
    (tmp_path / "empty").mkdir(exist_ok=True)
    with pytest.raises(DataError, match="has no images"):
        images(tmp_path / "empty", 4, (3, 8, 8))
    (folder / "cat" / "bad.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"bad.png cannot be read as an image"):
        images(folder, 100, (3, 8, 8))
    Image.new("RGB", (4, 4)).save(tmp_path / "loose.png")
    (folder / "cat" / "bad.png").unlink()
    with pytest.raises(DataError, match="without a label"):
        labelled(tmp_path, (3, 8, 8))


def write_parquet(path, **columns):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)
    return path


def png(mode="L", colour=0):
    buffer = io.BytesIO()
    Image.new(mode, (4, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_digits_are_the_scans_divided_by_sixteen_in_stratified_splits():
    from sklearn.datasets import load_digits

    sets = digits(8)
    whole = torch.cat([s.x for s in sets.values()]).flatten(1)
    scans = torch.tensor(load_digits().data, dtype=torch.float32) / 16
    assert torch.equal(torch.sort(whole.sum(1)).values, torch.sort(scans.sum(1)).values)
    assert [len(sets[s].x) for s in ("train", "val", "test")] == [1077, 360, 360]
    for s in sets.values():
        counts = torch.bincount(s.y) / len(s.y)
        assert float((counts - 0.1).abs().max()) < 0.01
    found = labelled("digits", (3, 8, 12), split="val", count=7, seed=3)
    assert found.x.shape == (7, 3, 8, 12)
    assert torch.equal(found.x[:, 0], found.x[:, 2])
    assert labelled("digits").x.shape[1:] == (1, 16, 16)


def test_the_choice_of_images_is_the_seeds(folder):
    first, second = (images(folder, 6, (3, 8, 8), seed=s) for s in (0, 3))
    assert not torch.equal(first, second)
    assert torch.equal(first.sum(0), second.sum(0))
    assert torch.equal(images(folder, 2, (3, 8, 8)), first[:2])
    assert len(images(folder, 100, (3, 8, 8))) == 6


def test_the_size_is_the_first_images_where_none_is_asked_for(folder, tmp_path):
    assert labelled(folder).x.shape == (6, 3, 8, 10)
    path = write_parquet(tmp_path / "x.parquet", image=[{"bytes": png(), "path": None}], label=[0])
    assert labelled(path).x.shape == (1, 1, 4, 4)


@pytest.mark.parametrize(
    ("mode", "colour"), [("L", 255), ("RGBA", (255, 255, 255, 255)), ("P", 0), ("1", 1), ("I;16", 65535)]
)
def test_colour_modes(tmp_path, mode, colour):
    path = write_parquet(tmp_path / "x.parquet", image=[{"bytes": png(mode, colour), "path": None}])
    wanted = 0.0 if mode == "P" else 1.0
    for channels in (1, 3):
        assert float(images(path, 1, (channels, 4, 4)).mean()) == wanted


def test_sixteen_bit_images_keep_their_range(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", image=[{"bytes": png("I;16", 32768), "path": None}])
    for channels in (1, 3):
        assert float(images(path, 1, (channels, 4, 4)).mean()) == pytest.approx(0.5, abs=0.01)


def test_float_images_are_refused(tmp_path):
    Image.new("F", (4, 4), 0.5).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match=r"x.tif cannot be read as an image: its values are floats"):
        images(tmp_path, 1, (1, 4, 4))


def test_splits_of_a_folder(tmp_path):
    for split, count in (("train", 2), ("test", 1)):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                Image.new("L", (4, 4), i).save(tmp_path / split / name / f"{i}.png")
    assert len(labelled(tmp_path, (1, 4, 4)).x) == 4
    assert sorted(labelled(tmp_path, (1, 4, 4), split="test").y.tolist()) == [0, 1]
    with pytest.raises(DataError, match="has the splits train, test, not 'val'"):
        labelled(tmp_path, (1, 4, 4), split="val")
    with pytest.raises(DataError, match="has no splits, not 'dev'"):
        labelled(tmp_path / "train", (1, 4, 4), split="dev")
    with pytest.raises(DataError, match="the digits have the splits train, val, test, not 'dev'"):
        labelled("digits", (1, 4, 4), split="dev")


def test_a_class_that_a_split_lacks_shifts_no_other(tmp_path):
    shades = {"a": 0, "b": 102, "c": 255}
    for split, names in (("train", "abc"), ("val", "bc"), ("test", "ac")):
        for name in names:
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("L", (4, 4), shades[name]).save(tmp_path / split / name / "0.png")
    for split, wanted in (
        ("train", {0.0: 0, 0.4: 1, 1.0: 2}),
        ("val", {0.4: 1, 1.0: 2}),
        ("test", {0.0: 0, 1.0: 2}),
    ):
        found = labelled(tmp_path, (1, 4, 4), split=split)
        assert {round(float(x.mean()), 3): int(y) for x, y in zip(*found, strict=True)} == wanted


def test_hidden_files_are_passed_over(folder):
    (folder / ".thumbnails").mkdir()
    for place in (folder / ".thumbnails" / "0.png", folder / "cat" / "._0.png"):
        place.write_bytes(b"no image")
    assert sorted(labelled(folder, (3, 8, 8)).y.tolist()) == [0, 0, 0, 1, 1, 1]


def test_faults_of_parquet_files_are_named(tmp_path):
    good = {"bytes": png(), "path": None}
    path = write_parquet(
        tmp_path / "a.parquet", image=[good, {"bytes": b"no image", "path": None}], label=[0, 1]
    )
    with pytest.raises(DataError, match=r"a.parquet, row 1 cannot be read as an image"):
        labelled(path, (1, 4, 4))
    path = write_parquet(tmp_path / "b.parquet", image=[good, None], label=[0, 1])
    with pytest.raises(DataError, match=r"b.parquet, row 1: 'image' holds no bytes"):
        labelled(path, (1, 4, 4))
    path = write_parquet(tmp_path / "c.parquet", image=[good, good], label=[0, None])
    with pytest.raises(DataError, match=r"without a label \(.*c.parquet, row 1\)"):
        labelled(path, (1, 4, 4))
    assert len(images(path, 2, (1, 4, 4))) == 2
    path = write_parquet(tmp_path / "d.parquet", image=[good], label=["cat"])
    with pytest.raises(DataError, match=r"d.parquet, row 0: the label 'cat' is not a class index"):
        labelled(path, (1, 4, 4))
    path = write_parquet(tmp_path / "e.parquet", picture=[good])
    with pytest.raises(DataError, match=r"e.parquet is not a parquet file with a column 'image'"):
        labelled(path, (1, 4, 4))
    (tmp_path / "f.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"f.parquet is not a parquet file"):
        labelled(tmp_path / "f.parquet", (1, 4, 4))
    with pytest.raises(DataError, match=r"g.parquet is not a source of images; .* \(nothing is there\)"):
        labelled(tmp_path / "g.parquet", (1, 4, 4))


def test_counts_and_sizes_of_nothing_are_refused(folder):
    with pytest.raises(SurgeonError, match="count=0 must be a whole number, 1 or more"):
        images(folder, 0, (3, 8, 8))
    with pytest.raises(DataError, match=r"images are \(1 or 3, H, W\), not \(3, 0, 8\)"):
        images(folder, 1, (3, 0, 8))
    with pytest.raises(DataError, match="size=0 pixels"):
        digits(0)


def test_bombs_are_refused(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DataError, match=r"\.png cannot be read as an image: .*decompression bomb"):
        images(folder, 1, (3, 8, 8))


@pytest.mark.parametrize(("package", "text"), [("sklearn", "scikit-learn"), ("pyarrow", "pyarrow")])
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, package, text):
    path = write_parquet(tmp_path / "x.parquet", image=[{"bytes": png(), "path": None}])
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingPackageError, match=rf"{text}.*pip install 'fx-surgeon\[train\]'"):
        labelled("digits" if package == "sklearn" else path, (1, 8, 8))


def test_a_folder_of_tables_alone_names_one_of_them(tmp_path):
    (tmp_path / "test.PARQUET").touch()
    with pytest.raises(DataError, match=r"no image files, but tables: name one of them \(test\.PARQUET\)"):
        labelled(tmp_path, (3, 8, 8))
