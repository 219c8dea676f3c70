"""Names in another case, packed files, archives, dead links and members of tars are never passed over."""

import io
import struct
import tarfile

import numpy
import pytest

from surgeon.data import labelled, load_sets
from surgeon.data.decoding import read
from surgeon.errors import DataError
from surgeon.models.checkpoints import read_weights
from surgeon.pipeline.converting import checkpoints_in
from tests.data.test_policy_of_containers import tar_of
from tests.data.test_whole_sources import encoded, folder, table, tar

SIZE = (1, 4, 4)
WRITERS = {".parquet": table, ".tar": tar}


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_is_known_by_its_ending_in_any_case(suffix, tmp_path):
    WRITERS[suffix](tmp_path / f"train{suffix}")
    WRITERS[suffix](tmp_path / f"test{suffix.upper()}", first=100, count=4)
    sets = load_sets(str(tmp_path), input_size=SIZE)
    assert len(sets.test.x) == 4 and int(sets.test.x.min()) >= 100
    assert load_sets(str(tmp_path / f"test{suffix.upper()}"), input_size=SIZE).faults.images == 4


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("more", [".gz", ".part"])
def test_a_split_that_is_packed_or_in_part_is_not_cut_from_the_training_images(suffix, more, tmp_path):
    WRITERS[suffix](tmp_path / f"train{suffix}")
    (tmp_path / f"train{suffix}{more}").write_bytes(b"what it was unpacked from")
    assert load_sets(str(tmp_path), input_size=SIZE).faults.images == 8
    (tmp_path / f"test{suffix}{more}").write_bytes(b"packed")
    with pytest.raises(DataError, match=rf"test{suffix}{more} is packed or was not copied to its end"):
        load_sets(str(tmp_path), input_size=SIZE)


@pytest.mark.parametrize(
    "name", ["train/c.zip", "train/c.tar.gz", "train/a/c.tar", "train/a/c.PARQUET", "train/a/x.pbm"]
)
def test_images_of_another_form_deep_in_a_folder_are_refused(name, tmp_path):
    folder(tmp_path / "train")
    (tmp_path / "train" / "a.zip").write_bytes(b"what the class a was unpacked from")
    assert load_sets(str(tmp_path), input_size=SIZE).faults.images == 8
    (tmp_path / name).write_bytes(b"more images")
    with pytest.raises(DataError, match=name.rpartition("/")[2]):
        load_sets(str(tmp_path), input_size=SIZE)
    with pytest.raises(DataError, match=name.rpartition("/")[2]):
        labelled(tmp_path, SIZE)


def test_a_class_whose_link_leads_nowhere_is_not_left_out(tmp_path):
    folder(tmp_path)
    (tmp_path / "c").symlink_to("/nowhere/c")
    with pytest.raises(DataError, match=r"/c is a link to /nowhere/c, where nothing is"):
        load_sets(str(tmp_path), input_size=SIZE)


def test_a_source_without_any_image_is_told(tmp_path):
    table(tmp_path / "none.parquet", count=0)
    with pytest.raises(DataError, match=r"none.parquet has no images"):
        load_sets(str(tmp_path / "none.parquet"), input_size=SIZE)


def _inner():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as inside:
        inside.addfile(tarfile.TarInfo("deep.tar"), io.BytesIO())
    return buffer.getvalue()


HARD = tarfile.TarInfo("b/9.png")
HARD.type, HARD.linkname = tarfile.LNKTYPE, "b/0.png"
ODD = {
    "another kind of image": (
        ("b/9.webp", encoded(9)),
        r"b/9.webp: in a tar .png, .jpg, .jpeg are read alone",
    ),
    "a hard link": ((HARD, b""), r"b/9.png: it is a hard link"),
    "a name twice": (("./a/0.png", encoded(9)), r"\./a/0.png: a/0.png is the same file"),
    "labels of a web data set": (("a/0.cls", b"1"), r"a/0.png: its label lies beside it"),
    "another split": (("test/a/9.png", encoded(9)), r"of the splits train, test, such as"),
    "tars in tars": (("in.tar", _inner()), r"in.tar/deep.tar, a tar in a tar of a tar"),
}


@pytest.mark.parametrize("odd", ODD)
def test_no_member_of_a_tar_is_passed_over_or_read_as_something_else(odd, tmp_path):
    members = [(f"{'ab'[i % 2]}/{i}.png", encoded(i)) for i in range(8)] + [("train/a/8.png", encoded(8))]
    assert load_sets(str(tar_of(tmp_path / "x.tar", members)), input_size=SIZE).faults.images == 9
    with pytest.raises(DataError, match=ODD[odd][1]):
        load_sets(str(tar_of(tmp_path / "x.tar", [*members, ODD[odd][0]])), input_size=SIZE)


@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_gray_with_a_sign_is_refused(kind):
    """Pillow reads −128 as 128, and white of 32767 would be half as bright."""
    values = numpy.zeros((4, 4), kind)
    tags = [(256, 4), (257, 4), (258, 8 * values.itemsize), (259, 1), (262, 1), (277, 1), (278, 4)]
    offset = 8 + 2 + 12 * (len(tags) + 3) + 4
    tags = sorted([*tags, (273, offset), (279, values.nbytes), (339, 2)])
    entries = b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    with pytest.raises(DataError, match=r"x.tif cannot be read as an image: its values have a sign"):
        read(("x.tif", head + entries + struct.pack("<I", 0) + values.tobytes()), None)


def test_a_checkpoint_is_known_by_its_ending_in_any_case(tmp_path):
    import torch

    torch.save({"weight": torch.ones(2)}, tmp_path / "A.PTH")
    (tmp_path / "gone.pth").symlink_to(tmp_path / "nowhere")
    assert read_weights(tmp_path / "A.PTH")["weight"].tolist() == [1, 1]
    assert [p.name for p in checkpoints_in(tmp_path)] == ["A.PTH", "gone.pth"]
