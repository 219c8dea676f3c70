"""Parquet files, archives and libraries: what is read of them and what is refused;
nothing is executed, unpacked or fetched."""

import contextlib
import io
import json
import os
import pickle
import tarfile

import pytest
import torch

from surgeon.data import held_out, images, labelled, load_sets, tables
from surgeon.data.decoding import picture_of
from surgeon.errors import DataError
from surgeon.recipe import Data
from tests.data.written import POSTSCRIPT, SIZE, Evil, encoded

# Parquet


def table(path, **columns):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    kinds = {k: columns.pop(k) for k in [*columns] if k.endswith("_as")}
    arrays = {k: arrow.array(v, type=kinds.get(f"{k}_as")) for k, v in columns.items()}
    parquet.write_table(arrow.table(arrays), path, row_group_size=4096)
    return path


def cell(content=None):
    return {"bytes": encoded() if content is None else content, "path": None}


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (2**63, "label that is not a class index, 9223372036854775808|labels that are no class"),
        (10**6, "label that is not a class index, 1000000|labels that are no class"),
        (-7, "label that is not a class index, -7|labels that are no class"),
        (None, "images without a label"),
        (True, "the label True is not a class index"),
        (1.0, "the label 1.0 is not a class index"),
        ([1], r"the label \[1\] is not a class index"),
        ({"id": 1}, r"the label \{'id': 1\} is not a class index"),
    ],
)
def test_labels_of_parquet_files(tmp_path, label, said):
    arrow = pytest.importorskip("pyarrow")
    more = {"label_as": arrow.uint64()} if label == 2**63 else {}
    path = table(tmp_path / "x.parquet", image=[cell()], label=[label], **more)
    for ask in (
        lambda: labelled(path, SIZE),
        lambda: held_out(str(path), SIZE),
        lambda: load_sets(str(path), input_size=SIZE),
    ):
        with pytest.raises(DataError, match=said):
            ask()


def test_a_column_that_is_no_image(tmp_path):
    for n, column in enumerate(
        (
            [b"raw"],
            ["text"],
            [{"path": "/etc/passwd", "bytes": None}],
            [{"pixels": [1, 2]}],
            [[1, 2]],
            [cell(b"")],
        )
    ):
        path = table(tmp_path / f"{n}.parquet", image=column)
        with pytest.raises(DataError, match=rf"{n}.parquet, row 0: 'image' holds no bytes"):
            images(path, 1, SIZE)
    path = table(tmp_path / "odd.parquet", image=[cell(b"%PDF-1.7")], label=[0])
    with pytest.raises(DataError, match="row 0 cannot be read as an image: its bytes are not of PNG"):
        labelled(path, SIZE)


def test_a_parquet_file_that_would_fill_the_memory_is_stopped(tmp_path, monkeypatch):
    path = table(tmp_path / "x.parquet", image=[cell(encoded() + b"\0" * 100_000)] * 60)
    assert path.stat().st_size < 10_000  # one image, sixty times: 6 MB
    monkeypatch.setattr(tables, "FREE", 2**20)
    with pytest.raises(
        DataError, match=r"x.parquet, row \d+: the images so far come to 1,\d+,\d+ bytes, out of a file of"
    ):
        images(path, 1, SIZE)


def test_huge_row_groups_are_read_in_pieces(tmp_path, monkeypatch):
    from pyarrow import parquet

    path = table(tmp_path / "x.parquet", image=[cell()] * 200, label=list(range(200)))
    seen = []
    whole = parquet.ParquetFile.iter_batches

    def counted(self, *a, **k):
        for batch in whole(self, *a, **k):
            seen.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counted)
    assert labelled(path, SIZE).y.sort().values.tolist() == list(range(200))
    assert max(seen) == tables.ROWS


def test_a_damaged_page_is_told_as_one(tmp_path):
    path = table(tmp_path / "x.parquet", image=[cell(os.urandom(5000)) for _ in range(20)])
    content = bytearray(path.read_bytes())
    content[4:2000] = bytes(1996)
    path.write_bytes(content)
    with pytest.raises(
        DataError, match="x.parquet is not a parquet file with a column 'image', or is damaged"
    ):
        images(path, 1, SIZE)


# Archives and libraries


def tar_of(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def everything(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_nothing_of_a_tar_is_unpacked_wherever_its_names_point(tmp_path):
    link = tarfile.TarInfo("a/link.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    inside = tmp_path / "deep" / "data"
    inside.mkdir(parents=True)
    outside = [
        ("../../out/0.png", encoded(1)),
        (f"{tmp_path}/abs/0.png", encoded(2)),
        (link, b""),
        ("a/0.png", encoded(3)),
    ]
    path = tar_of(inside / "all.tar", outside + [(f"b/{i}.png", encoded(i)) for i in range(8)])
    (inside / "_all_tarinfos.pickle").write_bytes(pickle.dumps(Evil(tmp_path / "mark")))
    (inside / "_data_tarinfos.pickle").write_bytes(pickle.dumps(Evil(tmp_path / "mark")))
    before = everything(tmp_path)
    found = load_sets(str(path), Data(stratified=False), input_size=SIZE)
    assert found.faults.images == 11  # all but the link
    assert load_sets(str(inside), Data(stratified=False), input_size=SIZE).faults.images == 11
    assert everything(tmp_path) == before


def test_an_image_of_a_tar_that_cannot_be_read_is_a_fault_and_not_its_neighbour(tmp_path):
    members = [(f"{c}/{i}.png", encoded(100 * n + i)) for n, c in enumerate("ab") for i in range(6)]
    members[2] = ("a/2.png", b"no image")
    members[8] = ("b/2.png", POSTSCRIPT)
    path = tar_of(tmp_path / "all.tar", members)
    with pytest.raises(
        DataError,
        match=r"2 images that cannot be read: image 2 of ImageDataset \(a/2.png\) cannot be read as an image",
    ):
        load_sets(str(path), input_size=SIZE)
    sets = load_sets(str(path), Data(faults="skip"), input_size=SIZE)
    assert sets.faults.images == 10
    shades = sorted(int(x[0, 0, 0]) for part in (sets.train, sets.val, sets.test) for x in part.x)
    assert shades == [0, 1, 3, 4, 5, 100, 101, 103, 104, 105]  # none twice


def test_processes_that_read_one_tar_do_not_move_one_anothers_place(tmp_path):
    from torch.utils.data import DataLoader

    members = [(f"{c}/{i:03}.png", encoded(i)) for c in "ab" for i in range(60)]
    path = tar_of(tmp_path / "all.tar", members)
    sets = load_sets(str(path), Data(in_memory="never"), input_size=SIZE)
    sets.train[0]  # as a reader that keeps its file open would have it open before the processes begin
    entries = [e[0] for e in sets.train.entries]
    assert not any(getattr(e.dataset.reader.tar_state, "tf", None) for e in entries)
    wanted = torch.stack([sets.train[i][0] for i in range(len(sets.train))])
    found = torch.cat([x for x, _ in DataLoader(sets.train, batch_size=3, num_workers=2)])
    assert torch.equal(found, wanted)


def test_what_is_no_tar_and_a_tar_without_images(tmp_path):
    for name, content in (("text.tar", b"no tar at all"), ("none.tar", None)):
        path = tmp_path / name
        path.write_bytes(content) if content else tar_of(path, [("a/notes.txt", b"text")])
        with pytest.raises(DataError, match=rf"{name} holds no tar of images that can be read"):
            load_sets(str(path), input_size=SIZE)


@pytest.mark.parametrize(
    "name", ["pipe:touch {mark}", "../other/0.tar", "/etc/passwd", "a.tar::pipe:touch {mark}"]
)
def test_a_web_data_set_names_tars_of_its_own_folder_alone(tmp_path, name):
    root, mark = tmp_path / "root", tmp_path / "mark"
    root.mkdir()
    name = name.format(mark=mark)
    split = {"name": "train", "num_samples": 1, "filenames": [name], "shard_lengths": [1]}
    (root / "_info.json").write_text(json.dumps({"splits": {"train": split}}))
    if not name.startswith("pipe"):
        with pytest.raises(DataError, match=r"_info.json names .*, which is not a file below"):
            load_sets("wds/", root=str(root), input_size=SIZE)
    for place in ("", None, f"pipe:touch {mark}", "http://nowhere.invalid/data"):
        with pytest.raises(
            DataError, match=r"wds/ needs the folder where its tars lie as root \(--root\), not"
        ):
            load_sets("wds/", root=place, input_size=SIZE)
    if name.startswith("pipe"):  # a file of this name below the root, and none is there
        with contextlib.suppress(DataError):
            list(load_sets("wds/", root=str(root), input_size=SIZE).train)
    assert not mark.exists()


def test_community_data_sets_and_archives_of_imagenet(tmp_path):
    with pytest.raises(
        DataError, match="is a community's data set, made by code of its own, which is not run"
    ):
        load_sets("tfds/huggingface:mnist", root=str(tmp_path))
    for name in ("ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_img_train.tar"):
        (tmp_path / name).write_bytes(b"archive")
    with pytest.raises(
        DataError,
        match="ImageNet is not unpacked there: meta.bin, train missing, and archives are not unpacked",
    ):
        load_sets("torch/imagenet", root=str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_library_is_asked_for_no_download_and_no_code_and_the_hub_is_off(monkeypatch):
    import huggingface_hub.constants as hub
    import timm.data

    asked = []

    def create(name, **given):
        asked.append((given["download"], given["trust_remote_code"], hub.HF_HUB_OFFLINE))
        raise RuntimeError("not there")

    was = hub.HF_HUB_OFFLINE
    monkeypatch.setattr(timm.data, "create_dataset", create)
    for name in ("torch/cifar10", "hfds/some/images", "hfids/some/images", "tfds/mnist"):
        with pytest.raises(DataError, match=rf"{name} (under . \(not there\)|does not lie under .)"):
            load_sets(name, root=".")
    assert set(asked) == {(False, False, True)}
    assert was == hub.HF_HUB_OFFLINE


def test_a_hub_data_set_is_not_fetched(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    import socket

    def reached(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", reached)
    monkeypatch.setattr(socket.socket, "connect", reached)
    with pytest.raises(DataError, match="timm has no data set hfds/nobody/nothing") as caught:
        load_sets("hfds/nobody/nothing", root=str(tmp_path))
    assert "the network was asked" not in str(caught.value)


def test_one_picture_by_its_bytes_or_its_open_file():
    for source in (encoded(9), io.BytesIO(encoded(9))):
        assert picture_of(("it", source)).getpixel((0, 0)) == (9, 9, 9)
