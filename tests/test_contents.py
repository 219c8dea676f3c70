"""A name is not a content: what a run was made from is known by what it holds, and asked for at every resume."""

import json
import os
import shutil

import pytest
import torch
from PIL import Image

import surgeon
from surgeon.data import Images, Records, contents_of, differing
from surgeon.errors import ArtifactError, DataError
from surgeon.recipe import Evaluation, load_recipe

for package in ("accelerate", "sklearn"):
    pytest.importorskip(package)
SETTINGS = ["training.epochs=1", "training.batch_size=8"]
GIVEN = {"input_size": (1, 28, 28), "device": "cpu", "data": "digits"}


def pictures(folder, seed, count=10):
    generator = torch.Generator().manual_seed(seed)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = torch.randint(0, 256, (28, 28), generator=generator, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / name / f"{i}.png", compress_level=0)
    return folder


def start(folder, recipe="plain", more=(), **given):
    from surgeon.pipeline import train

    return train([load_recipe(recipe, [*SETTINGS, *more])], "zoo/lenet5", folder, **{**GIVEN, **given})


def test_images_in_memory_are_known_by_every_pixel_and_label():
    x, y = torch.rand(3000, 1, 4, 4), torch.arange(3000) % 7
    whole = contents_of(Images(x, y))
    assert contents_of(Images(x.clone(), y.clone())) == whole
    assert contents_of(Images(x[:, :, :, :1].expand(-1, -1, -1, 4), y)) == contents_of(
        Images(x[:, :, :, :1].expand(-1, -1, -1, 4).contiguous(), y)
    )
    changed = x.clone()
    changed[2999, 0, 3, 3] += 1e-6
    assert differing(whole, contents_of(Images(changed, y))) == "other contents"
    assert differing(whole, contents_of(Images(x, y.flip(0)))) == "other labels"
    assert differing(whole, contents_of(Images(x[:5], y[:5]))) == "5 images, not 3000"
    assert contents_of(Images(x.view(3000, 1, 2, 8), y)) != whole


@pytest.mark.parametrize("whole", [True, False])
def test_files_are_known_by_names_sizes_labels_and_bytes_wherever_they_lie(tmp_path, monkeypatch, whole):
    from surgeon.data import contents

    if not whole:
        monkeypatch.setattr(contents, "WHOLE", 0)
        monkeypatch.setattr(contents, "SAMPLE", 5)
    folder = pictures(tmp_path / "data", 0)

    def found(place):
        files = sorted(place.rglob("*.png"))
        return contents_of(Records([(f, int(f.parent.name == "b")) for f in files], (1, 28, 28)))

    before = found(folder)
    assert before["read"] == (20 if whole else 5)
    shutil.copytree(folder, tmp_path / "moved")
    assert found(tmp_path / "moved") == before
    first = sorted(folder.rglob("*.png"))[0]
    kept = first.read_bytes()
    first.write_bytes(kept[:-30] + bytes(30))  # of the same size
    assert differing(before, found(folder)) == "other contents"
    first.write_bytes(kept + b"x")
    assert differing(before, found(folder)) == "other names, sizes or labels"


def test_a_relative_path_means_one_data_set_whatever_the_working_directory(tmp_path, monkeypatch):
    for place, seed in (("one", 0), ("two", 1)):
        pictures(tmp_path / place / "data", seed)
    monkeypatch.chdir(tmp_path / "one")
    done = start(tmp_path / "run", data="data")
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["data"] == str(
        tmp_path / "one" / "data"
    )
    monkeypatch.chdir(tmp_path / "two")
    with pytest.raises(
        ArtifactError, match=r"the training images of .*two.data .*it was made from .*one.data"
    ):
        start(tmp_path / "run", data="data")
    assert (
        start(tmp_path / "run", data=str(tmp_path / "one" / "data")).history[0].loss == done.history[0].loss
    )
    monkeypatch.chdir(tmp_path)
    assert start("run", data=os.path.join("one", "..", "one", "data")).history[0].loss == done.history[0].loss


def test_data_that_were_moved_are_known_by_what_they_hold(tmp_path, capsys):
    pictures(tmp_path / "data", 0)
    done = start(tmp_path / "run", data=str(tmp_path / "data"))
    (tmp_path / "data").rename(tmp_path / "moved")
    again = start(tmp_path / "run", data=str(tmp_path / "moved"))
    assert again.history[0].loss == done.history[0].loss
    said = capsys.readouterr()
    assert f"{tmp_path / 'moved'} holds what {tmp_path / 'data'} held" in said.out + said.err
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["data"] == str(tmp_path / "moved")
    with pytest.raises(DataError) as error:
        start(tmp_path / "run", data=str(tmp_path / "data"))
    assert str(tmp_path / "data") in str(error.value) and "other settings" not in str(error.value)


@pytest.mark.parametrize("memory", ["always", "never"])
def test_class_folders_that_were_swapped_do_not_go_on(tmp_path, memory):
    folder = pictures(tmp_path / "data", 0)
    given = {"data": str(folder), "more": [f"data.in_memory={memory}"]}
    start(tmp_path / "run", **given)
    (folder / "a").rename(folder / "c")
    (folder / "b").rename(folder / "a")
    (folder / "c").rename(folder / "b")
    with pytest.raises(ArtifactError) as error:
        start(tmp_path / "run", **given)
    assert f"the training images of {folder} (other contents)" in str(error.value)
    assert "run was made from something else than what is there now" in str(error.value)


def test_a_weights_file_and_a_model_folder_that_were_replaced_are_told(tmp_path):
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        networks.append(surgeon.create_model("zoo/lenet5", num_classes=10, input_size=(1, 28, 28)))
        surgeon.save(networks[-1], tmp_path / f"net{seed}")
    weights = tmp_path / "w.safetensors"
    shutil.copy(tmp_path / "net0" / "model.safetensors", weights)
    start(tmp_path / "run", weights=str(weights))
    shutil.copy(tmp_path / "net1" / "model.safetensors", weights)
    with pytest.raises(ArtifactError, match=rf"the weights of {weights} \(other contents\)"):
        start(tmp_path / "run", weights=str(weights))

    from surgeon.pipeline import train

    train([load_recipe("plain", SETTINGS)], str(tmp_path / "net0"), tmp_path / "on", **GIVEN)
    surgeon.save(networks[1], tmp_path / "net0", overwrite=True)
    with pytest.raises(ArtifactError, match=rf"the model of {tmp_path / 'net0'} \(other contents\)"):
        train([load_recipe("plain", SETTINGS)], str(tmp_path / "net0"), tmp_path / "on", **GIVEN)


def test_a_study_whose_weights_are_replaced_between_two_arms_stops(tmp_path, monkeypatch):
    pytest.importorskip("torchattacks")
    from surgeon.pipeline import studying

    for seed in (0, 1):
        torch.manual_seed(seed)
        surgeon.save(
            surgeon.create_model("zoo/lenet5", num_classes=10, input_size=(1, 28, 28)),
            tmp_path / f"net{seed}",
        )
    weights = tmp_path / "w.safetensors"
    shutil.copy(tmp_path / "net0" / "model.safetensors", weights)
    real, trained = studying.train, []

    def replacing(*args, **more):
        if len(trained) == 2:
            shutil.copy(tmp_path / "net1" / "model.safetensors", weights)
        trained.append(args)
        return real(*args, **more)

    monkeypatch.setattr(studying, "train", replacing)
    recipe = load_recipe("kap", SETTINGS)

    def study():
        basic = Evaluation(suite="basic", attacks=("fgsm",), samples=8, eps=0.1)
        return studying.study(
            [recipe], "zoo/lenet5", tmp_path / "s", weights=str(weights), evaluation=basic, **GIVEN
        )

    with pytest.raises(
        ArtifactError, match=r"the training before this one .* the weights of .* \(other contents\)"
    ):
        study()
    assert sorted(p.name for p in (tmp_path / "s").iterdir() if p.is_dir()) == ["stock", "stock-fine-tuned"]
    shutil.copy(tmp_path / "net0" / "model.safetensors", weights)
    trained[:] = [None] * 3
    assert len(study().arms) == 5


def test_a_training_of_ones_own_knows_the_pixels_that_it_was_begun_with(tmp_path):
    from surgeon.recipe import Training
    from surgeon.training import fit

    x, y = torch.rand(16, 1, 28, 28), torch.arange(16) % 10
    settings = Training(epochs=1, batch_size=8, schedule="constant")

    def call(x):
        model = surgeon.create_model("zoo/lenet5", num_classes=10, input_size=(1, 28, 28))
        return fit(model, Images(x, y), None, settings, folder=tmp_path / "run", device="cpu")

    call(x)
    call(x)
    with pytest.raises(ArtifactError, match="holds another training .*pixels: "):
        call(1 - x)


def test_a_conversion_asks_again_what_its_images_and_its_checkpoint_hold(tmp_path):
    from click.testing import CliRunner

    from surgeon.cli import group

    model = surgeon.create_model("zoo/lenet5", num_classes=2, input_size=(1, 28, 28))
    surgeon.save(model, tmp_path / "net")
    folder = pictures(tmp_path / "data", 0)

    def convert():
        args = ["convert", "noise", tmp_path / "net", "--data", folder, "-o", tmp_path / "out"]
        return CliRunner().invoke(group, [str(a) for a in args])

    assert convert().exit_code == 0
    assert "was there already" in convert().output
    (folder / "a" / "0.png").write_bytes((folder / "b" / "0.png").read_bytes())
    again = convert()
    assert again.exit_code == 2 and "images: other contents" in again.output
    shutil.rmtree(folder)
    pictures(folder, 0)
    assert convert().exit_code == 0
    torch.nn.init.ones_(next(model.parameters()))
    surgeon.save(model, tmp_path / "net", overwrite=True)
    again = convert()
    assert again.exit_code == 2 and "the checkpoint itself" in again.output


def test_images_that_change_while_they_are_trained_on_are_told(tmp_path, monkeypatch):
    folder = pictures(tmp_path / "data", 0)
    read, seen = Records.__getitem__, []

    def changing(records, index):
        seen.append(index)
        if len(seen) == 3:
            (folder / "a" / "0.png").write_bytes((folder / "b" / "0.png").read_bytes())
        return read(records, index)

    monkeypatch.setattr(Records, "__getitem__", changing)
    with pytest.raises(ArtifactError, match=rf"images \(.*\) of {folder} changed while they were trained on"):
        start(tmp_path / "run", data=str(folder), more=["data.in_memory=never", "data.test_share=0.1"])
    assert not (tmp_path / "run" / "trained").exists()
