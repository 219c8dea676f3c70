"""Images by name."""

import io

import pytest
import torch
from PIL import Image

from surgeon.data import digits, images, labelled
from surgeon.errors import DataError


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
        assert s.x.shape[1:] == (1, 16, 16) and s.x.dtype == torch.float32
        assert 0 <= float(s.x.min()) and float(s.x.max()) <= 1
        assert set(s.y.tolist()) == set(range(10))
    assert torch.equal(digits(16)["val"].y, sets["val"].y)


def test_a_folder_gives_classes_by_sub_folder(folder):
    found = labelled(folder, (3, 8, 8))
    assert found.x.shape == (6, 3, 8, 8)
    for image, label in zip(found.x, found.y, strict=True):
        assert float(image[0].mean()) == float(label == 0) and float(image[2].mean()) == float(label == 1)
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
    with pytest.raises(DataError, match="is no source of images; give 'digits', a folder of images, or a .parquet file"):
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
