"""What is read of data, what is refused, and that nothing in data is executed, unpacked or fetched."""

import contextlib
import io
import json
import os
import pickle
import struct
import tarfile
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from surgeon.data import decoding, held_out, images, labelled, load_sets, tables
from surgeon.data.decoding import picture_of
from surgeon.data.names import shown
from surgeon.errors import DataError, SurgeonError
from surgeon.recipe import Data

SIZE = (3, 4, 4)


class Evil:
    """An object whose unpickling writes a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.write_text, (self.mark, "executed")


def write(path, value=0, size=(4, 4), mode="RGB", **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    color = value if mode in ("L", "P", "I", "I;16") else (value,) * len(Image.new(mode, (1, 1)).getbands())
    Image.new(mode, size, color).save(path, **more)
    return path


def encoded(value=0, kind="PNG", mode="RGB", **more):
    buffer = io.BytesIO()
    Image.new(mode, (4, 4), value if mode in ("L", "P") else (value,) * 3).save(buffer, kind, **more)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two classes of three images."""
    for c, name in enumerate("ab"):
        for i in range(3):
            write(tmp_path / "data" / name / f"{i}.png", 100 * c + i)
    return tmp_path / "data"


def png_header(width, height):
    """A PNG that says it is so large, and has no pixels."""
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [ihdr, b"IDAT" + zlib.compress(b"")]
    packed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


# Objects, and programs


@pytest.mark.parametrize("ending", ["pkl", "pt", "npy", "npz", "joblib"])
def test_objects_are_no_data(tmp_path, ending):
    path = tmp_path / f"data.{ending}"
    path.write_bytes(pickle.dumps(Evil(tmp_path / "mark")))
    for ask in (
        lambda: load_sets(str(path)),
        lambda: labelled(path, SIZE),
        lambda: held_out(str(path), SIZE),
    ):
        with pytest.raises(
            DataError,
            match="files of Python objects and arrays are not read, since loading them may run code",
        ):
            ask()
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("ending", ["zip", "tar.gz", "7z"])
def test_archives_are_not_unpacked(tmp_path, ending):
    path = tmp_path / f"data.{ending}"
    path.write_bytes(b"PK")
    with pytest.raises(DataError, match="archives are not unpacked: unpack it, or give a plain .tar"):
        load_sets(str(path))


def test_a_pickle_in_the_place_of_cifar_or_mnist_is_not_loaded(tmp_path):
    evil = pickle.dumps({"data": Evil(tmp_path / "mark"), "labels": [0]})
    for n in (
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
        "test_batch",
        "batches.meta",
    ):
        (tmp_path / "cifar-10-batches-py").mkdir(exist_ok=True)
        (tmp_path / "cifar-10-batches-py" / n).write_bytes(evil)
    (tmp_path / "MNIST" / "processed").mkdir(parents=True)
    for n in ("training.pt", "test.pt"):
        torch.save(Evil(tmp_path / "mark"), tmp_path / "MNIST" / "processed" / n)
    for name in ("torch/cifar10", "torch/mnist"):
        with pytest.raises(DataError, match=f"{name} does not lie under"):
            load_sets(name, root=str(tmp_path))
    assert not (tmp_path / "mark").exists()


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n"


def test_postscript_under_the_name_of_an_image_starts_no_program(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    def started(*_):
        raise AssertionError("Ghostscript")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_bytes(POSTSCRIPT)
    with pytest.raises(
        DataError,
        match=r"0.png cannot be read as an image: its bytes are none of PNG, JPEG, BMP, WEBP, PPM, TIFF, GIF",
    ):
        images(tmp_path, 1, SIZE)


def test_where_a_library_opens_images_pillow_may_start_no_program(folder, tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    monkeypatch.setattr(EpsImagePlugin, "gs_windows_binary", None, raising=False)
    (folder / "a" / "0.png").write_bytes(POSTSCRIPT)
    with pytest.raises(DataError, match="cannot be read as an image"):
        load_sets("torch/folder", root=str(folder), input_size=SIZE)
    assert not EpsImagePlugin.has_ghostscript()


# Sizes


def test_an_image_of_too_many_pixels_is_named_with_its_size_before_they_are_decoded(tmp_path, recwarn):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "big.png"
    path.write_bytes(png_header(12_000, 10_000))  # Pillow itself would warn, and go on
    with pytest.raises(
        DataError,
        match=r"big.png cannot be read as an image: it has 12,000 × 10,000 pixels, more than the 89,478,485",
    ):
        images(tmp_path, 1, SIZE)
    path.write_bytes(png_header(200_000, 200_000))
    with pytest.raises(DataError, match=r"big.png cannot be read .*40000000000 pixels"):
        images(tmp_path, 1, SIZE)
    assert not recwarn.list
    with pytest.raises(DataError, match="1 images that cannot be read: .*big.png"):
        load_sets(str(tmp_path), input_size=SIZE)


def test_a_limit_that_the_user_set_lower_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15)
    with pytest.raises(DataError, match="it has 4 × 4 pixels, more than the 15"):
        images(write(tmp_path / "0.png").parent, 1, SIZE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(decoding, "PIXELS", 15)
    with pytest.raises(DataError, match="it has 4 × 4 pixels, more than the 15"):
        images(tmp_path, 1, SIZE)


# Kinds of image


def test_the_first_of_several_frames(tmp_path):
    frames = [Image.new("RGB", (4, 4), (v,) * 3) for v in (0, 100, 200)]
    for name in ("x.tif", "x.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        assert float(images(tmp_path, 1, SIZE).max()) == 0
        (tmp_path / name).unlink()
    frames[0].save(tmp_path / "x.png", "GIF", save_all=True, append_images=frames[1:])  # read by its bytes
    assert float(images(tmp_path, 1, SIZE).max()) == 0


@pytest.mark.parametrize(
    ("mode", "value", "kind", "wanted"),
    [
        ("CMYK", 0, "tiff", 1.0),
        ("CMYK", 255, "tiff", 0.0),
        ("LA", 255, "png", 1.0),
        ("RGBA", 0, "png", 0.0),
        ("I;16", 65535, "tiff", 1.0),
        ("I;16", 32768, "png", 128 / 255),
        ("I", 65535, "tiff", 1.0),
    ],
)
def test_modes(tmp_path, mode, value, kind, wanted):
    if mode == "RGBA":  # transparent all over: what is under it counts
        Image.new(mode, (4, 4), (0, 0, 0, 0)).save(tmp_path / "x.png")
    else:
        write(tmp_path / f"x.{kind}", value, mode=mode)
    for channels in (1, 3):
        assert float(images(tmp_path, 1, (channels, 4, 4)).mean()) == pytest.approx(wanted, abs=1e-6)


def test_a_palette_with_transparency_is_its_colours(tmp_path):
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.save(tmp_path / "x.png", transparency=1)
    assert float(images(tmp_path, 1, SIZE).min()) == 1


@pytest.mark.parametrize("value", [70_000, -1])
def test_whole_numbers_that_are_no_sixteen_bits_are_refused_and_not_cut_off(tmp_path, value):
    write(tmp_path / "x.tiff", value, mode="I")
    with pytest.raises(
        DataError, match=rf"x.tiff .*its values run from {value} to {value}, and 8 or 16 bits are read"
    ):
        images(tmp_path, 1, SIZE)


def test_the_orientation_in_exif_is_not_applied(tmp_path):
    picture = Image.new("RGB", (4, 2), (255, 0, 0))
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    picture.save(tmp_path / "x.jpg", exif=exif)
    assert labelled(tmp_path / "x.jpg".replace("x.jpg", ""), need_labels=False).x.shape[2:] == (2, 4)


def test_a_truncated_image_is_a_fault(folder):
    path = folder / "a" / "0.png"
    Image.effect_noise((64, 64), 90).save(path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(
        DataError, match=r"1 images that cannot be read: .*0.png cannot be read as an image: .*truncated"
    ):
        load_sets(str(folder), input_size=SIZE)
    assert load_sets(str(folder), Data(faults="skip"), input_size=SIZE).faults.images == 5


# Folders


def test_links_stand_for_what_they_lead_to(folder, tmp_path):
    write(tmp_path / "elsewhere" / "9.png", 9)
    (folder / "a" / "linked.png").symlink_to(tmp_path / "elsewhere" / "9.png")
    write(tmp_path / "c" / "deep" / "0.png", 50)
    (folder / "c").symlink_to(tmp_path / "c")
    found = labelled(folder, SIZE)
    assert torch.bincount(found.y).tolist() == [4, 3, 1]
    assert load_sets(str(folder), Data(in_memory="never"), input_size=SIZE).classes == ("a", "b", "c")


def test_links_in_a_circle_and_links_to_nowhere_are_named(folder):
    loop = folder / "a" / "more"
    loop.symlink_to(folder)
    for ask in (
        lambda: load_sets(str(folder), input_size=SIZE),
        lambda: images(folder, 9, SIZE),
        lambda: held_out(str(folder), SIZE),
    ):
        with pytest.raises(DataError, match=r"a/more is the same folder as .*data: a link leads back"):
            ask()
    loop.unlink()
    loop.symlink_to(folder / "b")
    with pytest.raises(DataError, match=r"data/b is the same folder as .*a/more"):
        images(folder, 9, SIZE)
    loop.unlink()
    loop.symlink_to(loop)
    with pytest.raises(
        DataError, match=r"data cannot be read: Too many levels of symbolic links \(.*a/more\)"
    ):
        images(folder, 9, SIZE)
    loop.unlink()
    (folder / "a" / "gone.png").symlink_to(folder / "nowhere.png")
    with pytest.raises(DataError, match=r"gone.png cannot be read as an image: .*No such file"):
        images(folder, 9, SIZE)


def test_pipes_and_other_files_are_passed_over(folder):
    os.mkfifo(folder / "a" / "pipe.png")
    (folder / "a" / "notes.txt").write_text("no image")
    (folder / "a" / "object.pkl").write_bytes(pickle.dumps(Evil(folder / "mark")))
    assert torch.bincount(labelled(folder, SIZE).y).tolist() == [3, 3]
    assert not (folder / "mark").exists()


def test_a_folder_that_may_not_be_read_is_named(folder, monkeypatch):
    scandir = os.scandir

    def refused(path="."):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    for ask in (lambda: load_sets(str(folder), input_size=SIZE), lambda: images(folder, 9, SIZE)):
        with pytest.raises(DataError, match=r"data cannot be read: Permission denied \(.*data/b\)"):
            ask()


def test_names_that_are_no_text(folder):
    if os.fsencode("é") != "é".encode():
        pytest.skip("file names are not UTF-8 here")
    odd = folder / "a" / os.fsdecode(b"\xff\x1b[31m.png")
    odd.write_bytes(encoded(7))
    assert len(labelled(folder, SIZE).x) == 7
    odd.write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        load_sets(str(folder), input_size=SIZE)
    assert r"\udcff\x1b[31m.png cannot be read as an image" in str(caught.value)
    assert str(caught.value).isprintable()
    found = load_sets(str(folder), Data(faults="skip"), input_size=SIZE).faults
    assert json.loads(json.dumps(found.model_dump(mode="json")))["images"] == 6
    (folder / os.fsdecode(b"\xfe")).mkdir()
    with pytest.raises(
        DataError, match=r"data/\\udcfe: the name of a class must be UTF-8; rename the folder"
    ):
        load_sets(str(folder), input_size=SIZE)
    assert shown("plain é name.png") == "plain é name.png"


def test_empty_folders_and_classes(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (folder / "c").mkdir()
    for ask in (held_out, lambda s, _: load_sets(s), lambda s, _: images(s, 1, SIZE)):
        with pytest.raises(DataError, match=r"empty has no images \(.png"):
            ask(str(tmp_path / "empty"), SIZE)
        with pytest.raises(DataError, match="notes is not a source of images"):
            (tmp_path / "notes").write_text("a file")
            ask(str(tmp_path / "notes"), SIZE)
    with pytest.raises(DataError, match="1 empty classes: c"):
        load_sets(str(folder), input_size=SIZE)
    assert held_out(str(folder), SIZE).classes == ("a", "b", "c")


@pytest.mark.parametrize("count", [0, -1, True, 1.5, "3"])
def test_counts(folder, count):
    for ask in (
        lambda: images(folder, count, SIZE),
        lambda: held_out(str(folder), SIZE, count=count),
        lambda: labelled("digits", count=count),
    ):
        with pytest.raises(SurgeonError, match=f"^count={count!r} must be a whole number, 1 or more$"):
            ask()


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
    with pytest.raises(DataError, match="row 0 cannot be read as an image: its bytes are none of PNG"):
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
    pytest.importorskip("webdataset")
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
