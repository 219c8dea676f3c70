"""What is read of data, what is refused, and that nothing in data is executed, unpacked or fetched."""

import json
import os
import pickle

import pytest
import torch
from PIL import Image

from surgeon.data import decoding, held_out, images, labelled, load_sets
from surgeon.data.names import shown
from surgeon.errors import DataError, SurgeonError
from surgeon.recipe import Data
from tests.data.written import POSTSCRIPT, SIZE, Evil, encoded, png_header, write

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


def test_postscript_under_the_name_of_an_image_starts_no_program(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    def started(*_):
        raise AssertionError("Ghostscript")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_bytes(POSTSCRIPT)
    with pytest.raises(
        DataError,
        match=r"0.png cannot be read as an image: its bytes are not of PNG, JPEG, BMP, WEBP, PPM, TIFF, GIF",
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


def test_sixteen_bits_that_hold_twelve_are_warned_of(tmp_path):
    write(tmp_path / "x.png", 4095, mode="I;16")
    with pytest.warns(UserWarning, match="16 bits has no value of 4096 or more: white is taken as 65535"):
        assert float(images(tmp_path, 1, SIZE).max()) == pytest.approx(16 / 255)


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
