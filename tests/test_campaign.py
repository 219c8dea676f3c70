"""The campaign at smoke size: images packed without loss, and steps that continue each other."""

import hashlib
import io
import time

import pytest

from experiments import campaign
from surgeon.data import digits
from surgeon.errors import ArgumentError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
Image = pytest.importorskip("PIL.Image")
for package in ("timm", "accelerate", "sklearn", "torchattacks"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """20 digits a class to train on, 4 to test on, as PNGs in parquet files."""
    folder, sets = tmp_path_factory.mktemp("source"), digits(8, seed=0)
    for split, each in (("train", 20), ("test", 4)):
        images, labels = [], []
        for label in range(10):
            for x in sets[split].x[sets[split].y == label][:each]:
                file = io.BytesIO()
                Image.fromarray((x[0] * 255).byte().numpy()).save(file, "PNG")
                images.append({"bytes": file.getvalue(), "path": None})
                labels.append(label)
        kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        table = pyarrow.table({"image": pyarrow.array(images, kind), "label": labels})
        parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return folder


def rows(folder):
    return {
        path.name: hashlib.sha256(repr(parquet.read_table(path).to_pylist()).encode()).hexdigest()
        for path in sorted(folder.glob("*.parquet"))
    }


def test_images_are_packed_without_loss(source, tmp_path):
    size = campaign.pack(source, tmp_path / "images.npz")
    assert 0 < size < campaign.LARGEST
    assert rows(campaign.unpack(tmp_path / "images.npz", tmp_path / "again")) == rows(source)


def test_a_file_that_would_be_too_large_is_refused_and_not_kept(source, tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "LARGEST", 100)
    with pytest.raises(ArgumentError, match="is the most"):
        campaign.pack(source, tmp_path / "images.npz")
    assert not (tmp_path / "images.npz").exists()
    with pytest.raises(ArgumentError, match="no train"):
        campaign.pack(tmp_path, tmp_path / "images.npz")


@pytest.mark.slow
def test_a_step_that_ends_before_its_work_is_continued_by_the_next(source, tmp_path):
    file, told = tmp_path / "images.npz", []
    campaign.pack(source, file)
    given = dict(budget="smoke", device="cpu", rows=["NT", "KAP(σ=0.1)"])

    def slowly(text):
        """Longer before the second run than the first step is."""
        told.append(text)
        if len(told) == 2:
            time.sleep(30)

    assert campaign.step(file, tmp_path / "runs", minutes=0.2, tell=slowly, **given) is None
    before = len(told)
    (found,) = campaign.step(file, tmp_path / "runs", minutes=30, tell=told.append, **given)
    assert set(found.rows) >= set(given["rows"]) and len(found.runs) == 2
    assert len(told) - before <= 2 and told[-1].startswith("all/cifar10 at smoke: run 2 of 2, KAP")
