"""The run: what it refuses, and that a refusal leaves nothing behind."""

import pytest
import torch
from PIL import Image

from surgeon.errors import ArtifactError, DataError, ModelError
from surgeon.recipe import load_recipe

for package in ("accelerate", "sklearn", "torchattacks", "scipy"):
    pytest.importorskip(package)
SETTINGS = ["training.epochs=1", "training.batch_size=8", "evaluation.samples=8", "evaluation.steps=2"]
NARROW = {"channels": [8, 8, 8, 8]}


def start(folder, model="resnet18", **more):
    from surgeon.pipeline import run

    arguments = {"input_size": (1, 16, 16), "model_args": NARROW, **more}
    return run([load_recipe("anl", SETTINGS)], model, folder, **arguments)


def pictures(folder, count):
    generator = torch.Generator().manual_seed(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = torch.randint(0, 256, (16, 16), generator=generator, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / name / f"{i}.png")
    return str(folder)


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"model": "resnet1"}, ModelError, "unknown model 'resnet1'; did you mean"),
        ({"data": "nowhere"}, DataError, "nowhere is no source of images"),
        ({"num_classes": 3}, DataError, "num_classes=3, and the data have 10 classes"),
    ],
)
def test_a_mistaken_call_leaves_no_folder_in_the_way_of_the_next(tmp_path, more, error, message):
    with pytest.raises(error, match=message):
        start(tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()


def test_too_few_images_to_split_are_refused(tmp_path):
    with pytest.raises(DataError, match="has 2 images, too few for training, validation and test; 4 are the"):
        start(tmp_path / "run", data=pictures(tmp_path / "two", 1))
    assert start(tmp_path / "run", data=pictures(tmp_path / "four", 2)).clean.n == 1


def test_settings_cut_short_by_a_kill_are_no_obstacle_and_damaged_ones_are_named(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".settings.json.999").write_text("{")
    assert start(tmp_path / "run").clean.n == 8
    (tmp_path / "run" / "settings.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"settings.json is damaged \(.*\); choose another folder"):
        start(tmp_path / "run")


def test_a_file_in_the_folders_place_is_an_error(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(ArtifactError, match="exists already and holds no run"):
        start(tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"
