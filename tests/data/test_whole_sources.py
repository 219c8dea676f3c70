"""No part of a source is passed over without a word: shards, other forms of images, broken archives, bits."""

import io
import json
import struct
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image, ImageFile

from surgeon.data import decoding, held_out, images, load_sets
from surgeon.data.decoding import read
from surgeon.errors import DataError

SIZE = (1, 4, 4)


def encoded(value):
    file = io.BytesIO()
    Image.new("L", (4, 4), value % 256).save(file, "PNG")
    return file.getvalue()


def table(path, first=0, count=8):
    import pyarrow
    from pyarrow import parquet

    rows = {
        "image": [{"bytes": encoded(first + i), "path": None} for i in range(count)],
        "label": [i % 2 for i in range(count)],
    }
    names = {"info": {"features": {"label": {"names": ["a", "b"]}}}}
    content = pyarrow.table(rows).replace_schema_metadata({"huggingface": json.dumps(names)})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(content, path)


def tar(path, first=0, count=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for i in range(count):
            content = encoded(first + i)
            member = tarfile.TarInfo(f"{'ab'[i % 2]}/{i:03}.png")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def folder(path, first=0, count=8):
    for i in range(count):
        file = path / "ab"[i % 2] / f"{i:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(first + i))


WRITERS = {"parquet": table, "tar": tar}


@pytest.mark.parametrize("ending", WRITERS)
def test_a_missing_file_of_a_numbered_set_is_told(tmp_path, ending):
    write = WRITERS[ending]
    write(tmp_path / f"train-00000-of-00002.{ending}")
    with pytest.raises(
        DataError, match=r"has 1 of the 2 files that train-00000-of-00002\.\w+ is one of; number 1"
    ):
        load_sets(str(tmp_path), input_size=SIZE)
    write(tmp_path / f"train-00001-of-00002.{ending}", 8)
    sets = load_sets(str(tmp_path), input_size=SIZE)
    assert sum(len(s.y) for s in (sets.train, sets.val, sets.test)) == 16
    write(tmp_path / f"train-00000-of-00001.{ending}")
    with pytest.raises(DataError, match="has files of several sets as its images of the split train"):
        load_sets(str(tmp_path), input_size=SIZE)


def test_one_file_that_is_named_is_all_that_was_asked_for(tmp_path):
    table(tmp_path / "train-00000-of-00002.parquet")
    assert len(held_out(str(tmp_path / "train-00000-of-00002.parquet"), SIZE).y) == 8


def test_tars_are_the_splits_that_their_names_say(tmp_path):
    tar(tmp_path / "train.tar", 0, 16)
    tar(tmp_path / "test.tar", 100, 6)
    sets = load_sets(str(tmp_path), input_size=SIZE)
    assert sets.classes == ("a", "b")
    assert sorted(sets.test.x[:, 0, 0, 0].tolist()) == [*range(100, 106)]
    assert max(sets.train.x.max(), sets.val.x.max()) < 100
    assert held_out(str(tmp_path), SIZE).split == "test"
    tar(tmp_path / "more.tar")
    with pytest.raises(DataError, match=r"has files of the splits train, test beside others \(more\.tar\)"):
        load_sets(str(tmp_path), input_size=SIZE)


def test_classes_of_tars_are_numbered_by_their_names_whichever_lies_first(tmp_path):
    tar(tmp_path / "test.tar", 0, 1)
    with tarfile.open(tmp_path / "train.tar", "w") as file:
        for i, name in enumerate("ccbbbaaa" * 2):
            content = encoded(i)
            member = tarfile.TarInfo(f"{name}/{i}.png")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    assert load_sets(str(tmp_path), input_size=SIZE).classes == ("a", "b", "c")


@pytest.mark.parametrize(
    "build",
    [
        lambda p: (table(p / "train.parquet"), folder(p / "test")),
        lambda p: (table(p / "train.parquet"), folder(p)),
        lambda p: (table(p / "train.parquet"), tar(p / "test.tar")),
        lambda p: (table(p / "train.parquet"), table(p / "data/test.parquet")),
        lambda p: (tar(p / "all.tar"), folder(p)),
        lambda p: (tar(p / "test.tar"), folder(p / "train")),
        lambda p: (tar(p / "train/0.tar"), folder(p / "test")),
        lambda p: (tar(p / "train/0.tar"), folder(p / "train")),
    ],
    ids=[
        "table and split",
        "table and classes",
        "table and tar",
        "two levels",
        "tar and classes",
        "tar of another split",
        "tars in one split",
        "tar and classes in a split",
    ],
)
def test_images_of_another_form_are_not_passed_over(tmp_path, build):
    build(tmp_path)
    with pytest.raises(DataError, match="passed over|give all one form"):
        load_sets(str(tmp_path), input_size=SIZE)


def test_an_archive_beside_what_was_unpacked_from_it_and_a_preview_are_no_data(tmp_path):
    for split, first in (("train", 0), ("test", 100)):
        folder(tmp_path / split, first)
        tar(tmp_path / f"{split}.tar", first)
    assert len(load_sets(str(tmp_path), input_size=SIZE).test.y) == 8
    table(tmp_path / "other/train.parquet")
    (tmp_path / "other/preview.png").write_bytes(encoded(0))
    assert len(held_out(str(tmp_path / "other"), SIZE).y) == 8


def test_images_of_a_folder_are_not_read_beside_tables_of_it(tmp_path):
    folder(tmp_path / "train")
    assert len(images(tmp_path, 99, SIZE)) == 8
    tar(tmp_path / "train.tar")  # what the folder was unpacked from
    assert len(images(tmp_path, 99, SIZE)) == 8
    tar(tmp_path / "test.tar")
    with pytest.raises(DataError, match=r"beside t\w+\.tar, which would be passed over"):
        images(tmp_path, 99, SIZE)
    (tmp_path / "test.tar").unlink()
    table(tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"beside train\.parquet, which would be passed over"):
        images(tmp_path, 99, SIZE)


def test_a_tar_that_breaks_off_or_is_damaged_within_is_refused(tmp_path):
    whole = tar(tmp_path / "all.tar").read_bytes()
    block = tarfile.BLOCKSIZE
    damaged = bytearray(whole)
    damaged[4 * block : 4 * block + 8] = b"\xff" * 8  # the third file's head
    for content in (whole[: 8 * block], whole[: 7 * block + 100], bytes(damaged)):
        (tmp_path / "all.tar").write_bytes(content)
        with pytest.raises(DataError, match=r"all\.tar (is damaged or broke off|holds no tar)"):
            load_sets(str(tmp_path / "all.tar"), input_size=SIZE)


def tiff(bits, values, photometric=1):
    """A gray TIFF of one strip, whose values have this number of bits; 12 are packed."""
    height, width = values.shape
    if bits == 12:
        text = "".join(f"{v:012b}" for v in values.flatten().tolist())
        strip = bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
    else:
        strip = values.astype(f"<u{bits // 8}").tobytes()
    tags = [
        (256, width),
        (257, height),
        (258, bits),
        (259, 1),
        (262, photometric),
        (273, 8),
        (277, 1),
        (278, height),
    ]
    tags.append((279, len(strip)))
    strip += b"\0" * (len(strip) % 2)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(strip))
        + strip
        + struct.pack("<H", len(tags))
        + entries
        + b"\0" * 4
    )


@pytest.mark.parametrize("bits", [12, 16])
def test_white_is_white_whatever_number_of_bits_says_it(tmp_path: Path, bits):
    values = numpy.linspace(0, 2**bits - 1, 16).round().astype(numpy.int64).reshape(4, 4)
    (tmp_path / "gray.tif").write_bytes(tiff(bits, values))
    expected = torch.from_numpy(numpy.round(values * 255 / (2**bits - 1)) / 255).float()
    assert torch.equal(read(tmp_path / "gray.tif", None)[0], expected)


def test_white_is_zero_where_a_tiff_says_so(tmp_path):
    values = numpy.linspace(0, 65535, 16).round().astype(numpy.int64).reshape(4, 4)
    (tmp_path / "gray.tif").write_bytes(tiff(16, values, photometric=0))
    expected = torch.from_numpy(numpy.round((65535 - values) / 257) / 255).float()
    assert torch.equal(read(tmp_path / "gray.tif", None)[0], expected)


def test_gray_of_16_bits_that_a_library_decoded_is_scaled():
    from surgeon.data.lazy_images import Borrowed, Records, Stream

    wide = numpy.array([[0, 64], [128, 255]], numpy.uint16) * 257
    held = [(Image.fromarray(wide), 1)]
    for data in (Records([(Borrowed(held, 0), 1)], (1, 2, 2)), Stream(held, (1, 2, 2))):
        assert next(iter(data))[0].flatten().tolist() == [0, 64, 128, 255]


def test_gray_of_16_bits_by_torchvisions_name_is_that_of_its_path(tmp_path):
    pytest.importorskip("torchvision")
    wide = numpy.array([[0, 64], [128, 255]], numpy.uint16) * 257
    for folder in (f"{split}/{name}" for split in ("train", "val") for name in "ab"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(wide).save(tmp_path / folder / f"{number}.png")
    sets = load_sets("torch/image_folder", root=str(tmp_path), input_size=(1, 2, 2))
    assert sets.train.x[0].flatten().tolist() == [0, 64, 128, 255]


def test_values_of_32_bits_that_fit_8_have_no_range(tmp_path):
    (tmp_path / "gray.tif").write_bytes(tiff(32, numpy.full((4, 4), 200)))
    with pytest.raises(DataError, match="whether white is 255 or 65535 is not known"):
        read(tmp_path / "gray.tif", None)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_a_truncated_image_is_a_fault_whatever_other_code_asked_of_pillow(tmp_path, monkeypatch, kind):
    file = io.BytesIO()
    Image.effect_noise((32, 32), 60).save(file, kind)
    (tmp_path / "half").write_bytes(file.getvalue()[: len(file.getvalue()) // 2])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(DataError, match="half cannot be read as an image"):
        read(tmp_path / "half", None)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_threads_that_decode_at_once_leave_pillows_switch_as_it_was(tmp_path, monkeypatch):
    file = io.BytesIO()
    Image.effect_noise((32, 32), 60).save(file, "PNG")
    (tmp_path / "half").write_bytes(file.getvalue()[: len(file.getvalue()) // 2])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with ThreadPoolExecutor(1) as other:
        with decoding._strict:  # this thread is in the middle of an image when the other begins and ends one
            with pytest.raises(DataError):
                other.submit(read, tmp_path / "half", None).result()
            assert ImageFile.LOAD_TRUNCATED_IMAGES is False
        assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_splits_are_known_by_a_word_inside_of_names_too(tmp_path):
    for name in ("set-train-0", "set-train-1"):
        table(tmp_path / f"{name}.parquet")
    table(tmp_path / "set-test-0.parquet", first=8, count=4)
    sets = load_sets(str(tmp_path), input_size=SIZE)
    assert len(sets.test.y) == 4 and len(sets.train.y) + len(sets.val.y) == 16
