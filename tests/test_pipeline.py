"""The run: what it refuses, and that a refusal leaves nothing behind."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from surgeon.disk.files import read_parquet
from surgeon.errors import ArtifactError, DataError, ModelError, RecipeError
from surgeon.recipe import Training, load_recipe

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
        ({"data": "nowhere"}, DataError, "nowhere is not a source of images"),
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
    assert start(tmp_path / "run", data=pictures(tmp_path / "four", 2)).summary.clean.n == 1


def test_settings_cut_short_by_a_kill_are_no_obstacle_and_damaged_ones_are_named(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".surgeon-new-999.0123abcd-settings.json").write_text("{")
    assert start(tmp_path / "run").summary.clean.n == 8
    (tmp_path / "run" / "settings.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"settings.json cannot be read: .*; choose another folder"):
        start(tmp_path / "run")


def test_a_finished_run_whose_checkpoint_is_gone_is_not_trained_once_more(tmp_path):
    from surgeon.pipeline import train

    def go_on():
        return train(
            [load_recipe("plain", SETTINGS[:2])], "zoo/lenet5", tmp_path / "run", input_size=(1, 16, 16)
        )

    go_on()
    before = {p: p.read_bytes() for p in sorted((tmp_path / "run").rglob("*")) if p.is_file()}
    (tmp_path / "run/training/checkpoint.pt").unlink()
    with pytest.raises(
        ArtifactError, match=r"run is trained, and training/checkpoint\.pt, which says so, is gone"
    ):
        go_on()
    kept = {p: c for p, c in before.items() if p.name != "checkpoint.pt"}
    assert {p: p.read_bytes() for p in kept} == kept
    (tmp_path / "run/training/checkpoint.pt").write_bytes(before[tmp_path / "run/training/checkpoint.pt"])
    assert len(go_on().history) == 1


def test_a_file_in_the_folders_place_is_an_error(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(ArtifactError, match="exists already and holds no run"):
        start(tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.parametrize("key", ["mean", "std", "normalize", "is_training"])
def test_transforms_that_validation_images_would_not_have_are_refused(key):
    from surgeon.data import Records
    from surgeon.pipeline.training import _transform

    sets = SimpleNamespace(train=Records([], (1, 8, 8)))
    settings = Training(transform={key: [0.5], "hflip": 0.0})
    with pytest.raises(RecipeError, match=rf"training.transform has {key}=\[0.5\]: .*leave .* out"):
        _transform(sets, settings, (1, 8, 8))
    _transform(sets, Training(transform={"hflip": 0.0}), (1, 8, 8))


def test_timms_transforms_are_for_images_that_are_read_one_by_one(tmp_path):
    from surgeon.pipeline import train

    more = [
        "training.transform={auto_augment: rand-m5, re_prob: 0.2, scale: [0.5, 1.0]}",
        "data.in_memory=never",
    ]
    given = {"data": pictures(tmp_path / "images", 12), "input_size": (3, 16, 16), "model_args": NARROW}
    recipe = load_recipe("plain", [*SETTINGS, *more])
    done = train([recipe], "resnet18", tmp_path / "run", **given)
    assert done.sets.train.transform is not None
    assert done.history[0].loss > 0
    with pytest.raises(DataError, match="set data.in_memory=never"):
        train([load_recipe("plain", [*SETTINGS, more[0]])], "resnet18", tmp_path / "held", **given)
    with pytest.raises(RecipeError, match=r"training.transform=\{'scal': 1\}: .*scal"):
        wrong = load_recipe("plain", [*SETTINGS, "training.transform={scal: 1}", more[1]])
        train([wrong], "resnet18", tmp_path / "wrong", **given)


def test_images_are_normalised_as_the_models_configuration_says(tmp_path):
    import surgeon
    from surgeon.data import Images
    from surgeon.models import normalization_of
    from surgeon.pipeline import run
    from surgeon.recipe import Training
    from surgeon.training import fit

    given = {"data": pictures(tmp_path / "images", 12), "input_size": (3, 16, 16), "model_args": NARROW}
    run([load_recipe("kap", SETTINGS)], "resnet18", tmp_path / "run", **given)
    network = surgeon.load(tmp_path / "run" / "trained")
    mean, std = normalization_of(network)
    assert (mean, std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    seen = []
    network.register_forward_pre_hook(lambda module, x: seen.append(x[0]))
    x = torch.rand(8, 3, 16, 16)
    settings = Training(epochs=1, schedule="constant")
    fit(network, Images(x, torch.arange(8) % 2), None, settings, normalize=(mean, std))
    wanted = (x - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    assert torch.allclose(seen[0].sum(), wanted.sum(), rtol=1e-4)


def test_a_run_is_never_evaluated_on_what_it_was_trained_on(tmp_path):
    """A source without test images of its own: a run's are those of its split; for a mere network the page says so."""
    from surgeon.evaluation.engine.fingerprints import image_hashes
    from surgeon.pipeline import evaluate_target, train
    from surgeon.recipe import Evaluation

    given = {"data": pictures(tmp_path / "images", 20), "input_size": (3, 16, 16), "model_args": NARROW}
    done = train(
        [load_recipe("plain", SETTINGS)], "resnet18", tmp_path / "run", seed=3, split_seed=5, **given
    )
    basic, seen = Evaluation(steps=1, eps=0.01), set(image_hashes(done.sets.train.x.float() / 255))
    found = evaluate_target(str(tmp_path / "run"), tmp_path / "e", basic, data=given["data"], device="cpu")
    rows = read_parquet(tmp_path / "e" / "verdicts.parquet")
    assert found.summary.clean.n == len(done.sets.test.y) and not {r["image"] for r in rows} & seen
    assert not any("no test images of its own" in n for n in found.notes)
    import surgeon

    surgeon.save(surgeon.load(tmp_path / "run" / "trained"), tmp_path / "alone")
    (tmp_path / "alone" / "lineage.json").unlink()  # as a network that nothing is known of
    whole = evaluate_target(str(tmp_path / "alone"), tmp_path / "w", basic, data=given["data"], device="cpu")
    assert whole.summary.clean.n == 40 and any("no test images of its own" in n for n in whole.notes)


@pytest.mark.parametrize("model", ["zoo/lenet5", "test_resnet"])
@pytest.mark.parametrize(("key", "value"), [("num_classes", 5), ("num_classes", 3), ("in_chans", 3)])
def test_arguments_that_contradict_the_images_leave_nothing_in_the_way(tmp_path, model, key, value):
    from surgeon.pipeline import train

    given = {"data": pictures(tmp_path / "images", 4), "input_size": (1, 32, 32)}
    more = {"data.grayscale": "true"}
    recipe = load_recipe("plain", ["training.epochs=1", *(f"{k}={v}" for k, v in more.items())])
    with pytest.raises(ModelError, match=rf"{key}.*{value}.*contradicts the [21] that the .* have"):
        train([recipe], model, tmp_path / "run", model_args={key: value}, **given)
    assert not (tmp_path / "run").exists()


def test_a_factory_that_makes_too_few_outputs_leaves_nothing_in_the_way(tmp_path, monkeypatch):
    from surgeon.pipeline import train

    (tmp_path / "two_outputs.py").write_text(
        "from torch import nn\n\n\ndef make(**given):\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    data = pictures(tmp_path / "images", 4)
    with pytest.raises(DataError, match="makes a network of 1 outputs, and the data have 2 classes"):
        train(
            [load_recipe("plain", SETTINGS)],
            "two_outputs:make",
            tmp_path / "run",
            data=data,
            input_size=(3, 16, 16),
        )
    assert not (tmp_path / "run").exists()


def test_images_of_one_class_are_refused_before_anything_is_written(tmp_path):
    from surgeon.pipeline import train

    for k in range(8):
        path = tmp_path / "data" / "cat" / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), k).save(path)
    with pytest.raises(DataError, match=r"all of one class \(cat\)"):
        train(
            [load_recipe("plain")],
            "zoo/lenet5",
            tmp_path / "run",
            data=str(tmp_path / "data"),
            input_size=(1, 32, 32),
        )
    assert not (tmp_path / "run").exists()
