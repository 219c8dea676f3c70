"""Web data sets, read as any other source, and streams of libraries, which train alone."""

import io
import json
import tarfile

import pytest
import torch
from PIL import Image
from torch.utils.data import IterableDataset

from surgeon.data import Stream, held_out, load_sets
from surgeon.errors import DataError
from surgeon.recipe import Data

SIZE = (3, 6, 6)


def tar_of(path, names):
    with tarfile.open(path, "w") as tar:
        for name, value, label in names:
            for ending, content in (("png", None), ("cls", str(label).encode())):
                if content is None:
                    buffer = io.BytesIO()
                    Image.new("RGB", (6, 6), (value, 0, 0)).save(buffer, "PNG")
                    content = buffer.getvalue()
                info = tarfile.TarInfo(f"{name}.{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def test_a_web_data_set_is_split_chosen_from_and_read_in_any_order(tmp_path):
    tar_of(tmp_path / "train-000.tar", [(f"{i:03}", 4 * i, i % 2) for i in range(40)])
    tar_of(tmp_path / "val-000.tar", [(f"{i:03}", 4 * i, i % 2) for i in range(10)])
    splits = {
        s: {"name": s, "num_samples": n, "filenames": [f"{f}-000.tar"], "shard_lengths": [n]}
        for s, f, n in (("train", "train", 40), ("validation", "val", 10))
    }
    (tmp_path / "_info.json").write_text(json.dumps({"splits": splits}))
    sets = load_sets("wds/", root=str(tmp_path), input_size=SIZE)
    assert sets.classes == ("0", "1")
    assert (len(sets.val.y), sets.val.y.tolist()[:4]) == (10, [0, 1, 0, 1])
    assert len(sets.train.y) + len(sets.test.y) == 40
    alone = load_sets("wds/", Data(in_memory="never"), root=str(tmp_path), input_size=SIZE)
    assert torch.equal(alone.val[7][0], sets.val.x[7])
    assert sets.val.x[7, 0].unique().tolist() == [28]
    assert len(load_sets("wds/", Data(per_class=8), root=str(tmp_path), input_size=SIZE).train.y) < 16
    test = held_out("wds/", SIZE, root=str(tmp_path), count=4)
    assert (test.split, sorted(test.y.tolist()), test.classes) == ("val", [0, 0, 1, 1], ("0", "1"))
    (tmp_path / "_info.json").unlink()
    by_name = load_sets("wds/any", root=str(tmp_path), input_size=SIZE)
    assert torch.equal(by_name.train.x, sets.train.x)


@pytest.mark.parametrize(
    ("members", "number", "message"),
    [
        ([("a.png", b""), ("a.cls", b"0"), ("b.png", b"")], None, r"b\.png: its label, b\.cls, does not lie"),
        ([("a.png", b""), ("a.cls", b"0"), ("b.cls", b"1")], None, r"b\.cls: no image .* lies beside it"),
        ([("a.png", b""), ("a.jpg", b""), ("a.cls", b"0")], None, r"a\.jpg: its sample has another"),
        ([("a.png", b""), ("a.cls", b"cat")], None, r"a\.cls: its label is 'cat', and no whole number"),
        ([("a.png", b""), ("a.cls", b"0")], 2, r"lists 2 samples of the split train, and its tars hold 1"),
        ([("a.txt", b"")], None, r"has no tars of samples"),
    ],
)
def test_a_sample_of_a_web_data_set_has_one_image_and_one_label(tmp_path, members, number, message):
    with tarfile.open(tmp_path / "train-0.tar", "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    split = {"name": "train", "filenames": ["train-0.tar"], **({"num_samples": number} if number else {})}
    (tmp_path / "_info.json").write_text(json.dumps({"splits": {"train": split}}))
    with pytest.raises(DataError, match=message):
        load_sets("wds/", root=str(tmp_path), input_size=SIZE)


class Streamed(IterableDataset):
    """What timm's reader of a data set that comes as a stream gives."""

    def __len__(self):
        return 40

    def __iter__(self):
        return ((Image.new("RGB", (6, 6), (4 * i, 0, 0)), i % 2) for i in range(40))


@pytest.fixture
def streamed(monkeypatch):
    monkeypatch.setattr("surgeon.data.sources.library", lambda name, root, split: Streamed())


def test_a_stream_trains_with_the_number_of_classes_said_alone(tmp_path, streamed):
    pytest.importorskip("accelerate")
    from surgeon.pipeline import run, study, train
    from surgeon.recipe import Training, load_recipe

    sets = load_sets("hfids/x", root=str(tmp_path), input_size=SIZE)
    assert isinstance(sets.train, Stream)
    with pytest.raises(DataError, match="is a stream, read as it comes; data.classes and data.per_class"):
        load_sets("hfids/x", Data(per_class=3), root=str(tmp_path), input_size=SIZE)
    with pytest.raises(DataError, match="is a stream, whose images' size must be said"):
        load_sets("hfids/x", root=str(tmp_path))
    plain = load_recipe({"name": "plain", "surgery": []})
    plain = plain.model_copy(update={"training": Training(epochs=1, batch_size=8)})
    given = {"data": "hfids/x", "root": str(tmp_path), "input_size": (3, 16, 16)}
    with pytest.raises(
        DataError, match="a stream, which does not tell how many classes there are: say so by"
    ):
        train([plain], "zoo/lenet5", tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()
    done = train([plain], "zoo/lenet5", tmp_path / "run", num_classes=2, **given)
    assert done.history[-1].loss > 0
    cut = [load_recipe("kap").model_copy(update={"training": Training(epochs=1)})]
    for job in (run, study):
        with pytest.raises(
            DataError, match="hfids/x is a stream, .* an evaluation needs images that can be chosen"
        ):
            job(cut, "zoo/lenet5", tmp_path / "other", num_classes=2, **given)
    with pytest.raises(DataError, match="is a stream, .* a start that is fitted to images needs"):
        train(
            cut,
            "zoo/lenet5",
            tmp_path / "other",
            num_classes=2,
            weights=str(tmp_path / "run/trained/model.safetensors"),
            **given,
        )
    assert not (tmp_path / "other").exists()
