"""Sets of a source: its own splits and those that are cut, the classes that are chosen, the faults that are found."""

import pickle
import tarfile

import pytest
import torch
from PIL import Image

from surgeon.data import Images, Records, iwildcam, labelled, load_sets, pixels
from surgeon.data.faults import inspect
from surgeon.errors import DataError
from surgeon.recipe import Data

SIZE = (3, 6, 6)


def write(path, value, size=(6, 6), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    color = value if mode == "L" else (value, 0, 255 - value)
    Image.new(mode, size, color).save(path)


def shade(x):
    return int(x[0, 0, 0])


@pytest.fixture
def folder(tmp_path):
    """Three classes of 20 images without splits; an image's red tells its class and number."""
    for c, name in enumerate(("ant", "bee", "cat")):
        for i in range(20):
            write(tmp_path / "data" / name / f"{i:02}.png", 80 * c + i)
    return tmp_path / "data"


def test_splits_are_cut_class_by_class_and_every_image_is_in_one(folder):
    sets = load_sets(str(folder), input_size=SIZE)
    assert sets.classes == ("ant", "bee", "cat")
    parts = (sets.train, sets.val, sets.test)
    assert [len(p.x) for p in parts] == [48, 6, 6]
    assert all(torch.bincount(p.y).tolist() == [len(p.y) // 3] * 3 for p in parts)
    seen = [shade(x) for p in parts for x in p.x]
    assert sorted(seen) == sorted(80 * c + i for c in range(3) for i in range(20))
    assert all(shade(x) // 80 == int(y) for p in parts for x, y in zip(*p, strict=True))
    assert sets.train.x.dtype == torch.uint8
    assert sets.faults.classes == {"ant": 20, "bee": 20, "cat": 20}
    assert sets.faults.lines() == []
    again, other = (load_sets(str(folder), input_size=SIZE, seed=s) for s in (0, 1))
    assert torch.equal(again.train.x, sets.train.x)
    assert not torch.equal(other.test.x, sets.test.x)


def test_without_strata_the_shares_are_of_the_whole(folder):
    sets = load_sets(str(folder), Data(stratified=False, val_share=0.25, test_share=0.05), input_size=SIZE)
    assert [len(p.x) for p in (sets.train, sets.val, sets.test)] == [42, 15, 3]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_source_keeps_the_splits_that_it_has(tmp_path, name):
    for split, values in (("train", range(10)), (name, (100,)), ("test", (200,))):
        for label in ("a", "b"):
            for v in values:
                write(tmp_path / split / label / f"{v}.png", v + (20 if label == "b" else 0))
    sets = load_sets(str(tmp_path), input_size=SIZE)
    assert [len(p.x) for p in (sets.train, sets.val, sets.test)] == [20, 2, 2]
    assert sorted(shade(x) for x in sets.val.x) == [100, 120]
    assert sorted(shade(x) for x in sets.test.x) == [200, 220]


def test_validation_is_cut_from_training_where_only_it_is_missing(tmp_path):
    for split, n in (("train", 10), ("test", 3)):
        for label in ("a", "b"):
            for v in range(n):
                write(tmp_path / split / label / f"{v}.png", v)
    sets = load_sets(str(tmp_path), Data(val_share=0.2), input_size=SIZE)
    assert [len(p.x) for p in (sets.train, sets.val, sets.test)] == [16, 4, 6]


def test_classes_by_name_in_the_order_asked_for(folder):
    sets = load_sets(str(folder), Data(classes=("cat", "ant")), input_size=SIZE)
    assert sets.classes == ("cat", "ant")
    assert {(shade(x) // 80, int(y)) for x, y in zip(*sets.train, strict=True)} == {(2, 0), (0, 1)}
    with pytest.raises(DataError, match=r"lacks the classes dog, eel; it has ant, bee, cat"):
        load_sets(str(folder), Data(classes=("dog", "ant", "eel")), input_size=SIZE)


def test_as_many_of_each_class_as_asked_for_and_no_fewer(folder):
    sets = load_sets(str(folder), Data(per_class=10), input_size=SIZE)
    assert sum(len(p.x) for p in (sets.train, sets.val, sets.test)) == 30
    (folder / "bee" / "00.png").unlink()
    with pytest.raises(DataError, match="per_class=20 is more than 1 classes hold: bee has 19"):
        load_sets(str(folder), Data(per_class=20), input_size=SIZE)


def test_the_iwildcam_pipeline(tmp_path):
    settings = iwildcam(per_class=10)
    for c, name in enumerate((*settings.classes, "elk")):
        for i in range(12):
            write(tmp_path / name / f"{i}.jpg", 20 * c, size=(64, 46))
    sets = load_sets(str(tmp_path), settings)
    parts = (sets.train, sets.val, sets.test)
    assert [tuple(p.x.shape) for p in parts] == [(70, 1, 23, 32), (20, 1, 23, 32), (10, 1, 23, 32)]
    assert [torch.bincount(p.y).tolist() for p in parts] == [[7] * 10, [2] * 10, [1] * 10]
    assert sets.classes == settings.classes
    assert iwildcam().per_class == 1000


def test_faults_are_counted_and_named_and_refused_or_left_out(folder):
    (folder / "ant" / "broken.png").write_bytes(b"no image")
    (folder / "ant" / "short.png").write_bytes((folder / "ant" / "00.png").read_bytes()[:40])
    write(folder / "stray.png", 7)
    (folder / "eel").mkdir()
    with pytest.raises(DataError) as caught:
        load_sets(str(folder), input_size=SIZE)
    text = str(caught.value)
    for part in (
        "1 images without a label: ",
        "stray.png",
        "2 images that cannot be read: ",
        "broken.png",
        "1 empty classes: eel",
        "data.faults=skip leaves them out",
    ):
        assert part in text
    sets = load_sets(str(folder), Data(faults="skip"), input_size=SIZE)
    assert sets.classes == ("ant", "bee", "cat")
    assert sets.faults.images == 60
    assert sets.faults.counts == {"images without a label": 1, "images that cannot be read": 2}
    assert any("broken.png" in line for line in sets.faults.lines())


def test_wrong_labels(tmp_path):
    good = tmp_path / "0.png"
    write(good, 1)
    entries = [(good, 0), (good, -1), (good, -7), (good, 3)]
    with pytest.raises(
        DataError,
        match=r"here has 1 images without a label: .*; 2 labels that are no class: .*0.png \(3 of 2\)",
    ):
        inspect(entries, ("a", "b"), source="here", complete=False)
    kept, found = inspect(entries, ("a", "b"), policy="skip")
    assert kept == entries[:1]
    assert found.counts == {"images without a label": 1, "labels that are no class": 2, "empty classes": 1}


def test_read_one_by_one_when_they_are_not_held(folder):
    held = load_sets(str(folder), input_size=SIZE)
    sets = load_sets(str(folder), Data(in_memory="never"), input_size=SIZE)
    assert isinstance(sets.train, Records)
    x, y = sets.train[5]
    assert torch.equal(x, held.train.x[5])
    assert y == int(held.train.y[5])
    assert torch.equal(pickle.loads(pickle.dumps(sets.train))[5][0], x)
    assert torch.equal(sets.test.in_memory().x, held.test.x)
    (folder / "ant" / "00.png").write_bytes(b"gone bad")
    with pytest.raises(DataError, match=r"00.png cannot be read as an image"):
        for part in (sets.train, sets.val, sets.test):
            part.in_memory()


def test_training_from_files_is_training_from_memory(folder):
    pytest.importorskip("accelerate")
    from surgeon.recipe import Training
    from surgeon.training import fit

    losses = []
    for how, workers in (("always", 0), ("never", 0), ("never", 2)):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(108, 3))
        sets = load_sets(str(folder), Data(in_memory=how), input_size=SIZE)
        settings = Training(epochs=2, batch_size=16, pad=1, flip=True)
        losses.append([r[:5] for r in fit(model, sets.train, sets.val, settings, workers=workers)])
    assert losses[0] == losses[1] == losses[2]


def test_timms_transforms_are_functions_of_epoch_and_image(folder):
    pytest.importorskip("accelerate")
    from timm.data import create_transform

    from surgeon.training.batches import Batches

    sets = load_sets(str(folder), Data(in_memory="never"), input_size=SIZE)
    sets.train.transform = create_transform(
        6, is_training=True, auto_augment="rand-m9-mstd0.5", re_prob=0.5, mean=(0, 0, 0), std=(1, 1, 1)
    )
    one, two = ([b.x for b in Batches(sets.train, 16, 3, workers=w).epoch(1)] for w in (0, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    late = [b.x for b in Batches(sets.train, 16, 3).epoch(1, start=2)]
    assert torch.equal(late[0], one[2])
    other = [b.x for b in Batches(sets.train, 16, 3).epoch(2)]
    assert not torch.equal(other[0], one[0])


def test_mnist_as_timm_reads_it(shared):
    sets = load_sets("torch/mnist", root=str(shared / "data"))
    assert [len(p.x) for p in (sets.train, sets.val, sets.test)] == [
        54001,
        5999,
        10000,
    ]  # a tenth of each class
    from torchvision.datasets import MNIST

    stock = MNIST(shared / "data", train=False)
    assert torch.equal(sets.test.x[:, 0], stock.data)
    assert torch.equal(sets.test.y, stock.targets)
    assert sets.classes[3] == "3 - three"


def test_cifar_parquet_by_its_folder(shared):
    sets = load_sets(str(shared / "data" / "cifar10-jpeg"), Data(in_memory="never"), input_size=(3, 32, 32))
    assert [len(p) for p in (sets.train, sets.val, sets.test)] == [45000, 5000, 10000]
    assert sets.classes[:3] == ("airplane", "automobile", "bird")
    assert torch.bincount(sets.val.labels).tolist() == [500] * 10
    assert sets.train[7][0].shape == (3, 32, 32)


def test_images_in_a_tar(tmp_path, folder):
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for file in sorted(folder.rglob("*.png")):
            tar.add(file, file.relative_to(folder).as_posix())
    sets, loose = (
        load_sets(str(tmp_path / "all.tar"), input_size=SIZE),
        load_sets(str(folder), input_size=SIZE),
    )
    assert sets.classes == loose.classes
    assert torch.equal(sets.train.x, loose.train.x)


def test_the_digits(tmp_path):
    pytest.importorskip("sklearn")
    sets = load_sets("digits", input_size=(3, 20, 24))
    assert sets.train.x.shape[1:] == (3, 20, 24)
    few = load_sets("digits", Data(per_class=5))
    assert torch.bincount(few.train.y).tolist() == [5] * 10
    with pytest.raises(DataError, match="the digits are used whole"):
        load_sets("digits", Data(classes=("1",)))


@pytest.mark.parametrize(
    ("source", "more", "message"),
    [
        ("nowhere", {}, r"nowhere is not a source of images; .* \(nothing is there\)"),
        (
            "torch/mnist",
            {"root": "nowhere"},
            r"torch/mnist does not lie under nowhere, which is not a folder: give the folder",
        ),
        ("torch/nosuch", {"root": "."}, "timm knows no data set 'torch/nosuch'"),
    ],
)
def test_sources_that_are_not_there(source, more, message):
    with pytest.raises(DataError, match=message):
        load_sets(source, **more)


def test_sizes_that_are_none(folder):
    with pytest.raises(DataError, match=r"images are \(1 or 3, H, W\), not \(2, 6, 6\)"):
        load_sets(str(folder), input_size=(2, 6, 6))
    (folder.parent / "empty" / "a").mkdir(parents=True)
    with pytest.raises(DataError, match="empty has no images"):
        load_sets(str(folder.parent / "empty"))


def test_bytes_and_floats_are_the_same_pixels():
    x = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    assert torch.equal(pixels(x), pixels(x.float() / 255))
    assert isinstance(Images(x, torch.zeros(1)), tuple)


def test_a_hugging_face_data_set_on_this_machine(folder, tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    sets = load_sets(f"hfds/{folder}", root=str(tmp_path / "cache"), input_size=SIZE)
    assert sets.classes == ("ant", "bee", "cat")
    assert sum(len(p.x) for p in (sets.train, sets.val, sets.test)) == 60
    assert all(shade(x) // 80 == int(y) for x, y in zip(*sets.train, strict=True))


@pytest.mark.parametrize(
    ("train", "test"), [("Train", "Test"), ("TRAINING", "testing"), ("train_set", "test_set")]
)
def test_splits_are_known_without_regard_to_case(tmp_path, train, test):
    for split, values in ((train, range(10)), (test, (200,))):
        for label in ("a", "b"):
            for v in values:
                write(tmp_path / split / label / f"{v}.png", v + (20 if label == "b" else 0))
    sets = load_sets(str(tmp_path), input_size=SIZE)
    assert sets.classes == ("a", "b")
    assert sorted(shade(x) for x in sets.test.x) == [200, 220]
    assert labelled(tmp_path, SIZE, split="test").y.tolist() in ([0, 1], [1, 0])


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("train", "training"), "train/, training/, which all mean the split 'train'"),
        (("valid", "train", "validation"), "valid/, validation/, which all mean the split 'val'"),
        (("Train", "test", "train"), "Train/, train/, which all mean the split 'train'"),
        (("bus", "car", "train"), "the splits train/ beside other folders of images, bus/, car/"),
        (("train", "eval"), "the splits train/ beside other folders of images, eval/"),
    ],
)
def test_folders_that_are_splits_or_classes_are_not_guessed_at(tmp_path, names, told):
    for name in names:
        for v in range(4):
            write(tmp_path / name / "a" / f"{v}.png", v)
    for read in (lambda: load_sets(str(tmp_path), input_size=SIZE), lambda: labelled(tmp_path, SIZE)):
        with pytest.raises(DataError, match=told) as error:
            read()
        assert "\n" not in str(error.value)


def test_folders_without_images_beside_the_splits_are_no_matter(tmp_path):
    for v in range(4):
        write(tmp_path / "train" / "a" / f"{v}.png", v)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("x")
    assert load_sets(str(tmp_path), input_size=SIZE).classes == ("a",)
    with pytest.raises(DataError, match="has the splits train, not 'test'"):
        labelled(tmp_path, SIZE, split="test")


@pytest.mark.parametrize("suffix", [".gif", ".avif", ".HEIC"])
def test_an_image_that_is_not_read_is_not_passed_over(folder, suffix):
    (folder / "bee" / f"20{suffix}").write_bytes(b"GIF89a")
    with pytest.raises(DataError, match=rf"bee/20\{suffix} is an image that is not read; convert it"):
        load_sets(str(folder), input_size=SIZE)
