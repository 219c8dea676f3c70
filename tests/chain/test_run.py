"""A run and its evaluation: an untouched chain fits, and one thing that is changed is named."""

import shutil

import pytest
import torch

from surgeon.errors import ArtifactError
from surgeon.report import report
from surgeon.results.statistics import wilson
from tests.chain.changes import (
    SIZE,
    TRAINING,
    changed,
    edited,
    exchanged,
    failures,
    flipped,
    pictures,
    repainted,
    rewritten,
    turned,
    verified,
    with_value,
)

for package in ("accelerate", "torchattacks", "scipy", "pyarrow", "jinja2", "matplotlib"):
    pytest.importorskip(package)


def tree(folder):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(folder.rglob("*"))}


def test_an_untouched_chain_fits_and_nothing_is_written(run_folder):
    from surgeon.pipeline import verify_folder

    before = tree(run_folder.parent)
    checks = verify_folder(run_folder)
    assert {c.name: c.detail for c in checks if c.ok is not True} == {}
    names = {c.name for c in checks}
    assert {
        "data/training images",
        "weights",
        "cut/record",
        "training/checkpoint.pt",
        "trained/weights",
    } <= names
    assert {
        "network",
        "images",
        "predictions",
        "summary",
        "certified",
        "pictures",
        "report.html",
        "adversarial images",
    } <= {n.removeprefix("evaluation/") for n in names}
    assert tree(run_folder.parent) == before


CHANGES = {
    "a weight of the trained network": (
        "trained/model.safetensors",
        flipped,
        {"trained/files", "trained/hashes", "trained/weights"},
    ),
    "a weight of the cut": ("cut/model.safetensors", flipped, {"cut/files", "cut/hashes"}),
    "the last weights": (
        "training/last.safetensors",
        flipped,
        {"training/last.safetensors", "trained/weights"},
    ),
    "a figure of the metrics": (
        "training/metrics.csv",
        lambda p: edited(p, "\n0,", "\n0,1"),
        {"training/metrics.csv"},
    ),
    "the checkpoint": ("training/checkpoint.pt", lambda p: p.read_bytes()[:1000], {"training/checkpoint.pt"}),
    "the settings": (
        "settings.json",
        lambda p: with_value(p, ["training", "lr"], 0.02),
        {"training/checkpoint.pt"},
    ),
    "the recipe": ("recipe.yaml", lambda p: edited(p, "name: kap", "name: kup"), {"settings"}),
    "a verdict": (
        "evaluation/verdicts.parquet",
        turned,
        {
            "evaluation/verdicts.parquet",
            "evaluation/verdicts.csv",
            "evaluation/summary",
            "evaluation/gain",
            "evaluation/predictions",
        },
    ),
    "a verdict's distance": (
        "evaluation/verdicts.parquet",
        lambda p: rewritten(p, linf=0.5),
        {"evaluation/verdicts.parquet", "evaluation/verdicts.csv"},
    ),
    "a verdict as text": (
        "evaluation/verdicts.csv",
        lambda p: edited(p, "True", "False"),
        {"evaluation/verdicts.csv"},
    ),
    "a number of the evaluation": (
        "evaluation/evaluation.json",
        lambda p: with_value(p, ["summary", "worst", "low"], 0.987),
        {"evaluation/evaluation.json"},
    ),
    "a share of the evaluation": (
        "evaluation/evaluation.json",
        lambda p: with_value(p, ["summary", "worst"], wilson(1, 77).model_dump()),
        {"evaluation/summary", "evaluation/report.html"},
    ),
    "the evaluation's settings": (
        "evaluation/settings.json",
        lambda p: with_value(p, ["evaluation", "steps"], 20),
        {"evaluation/evaluation.json"},
    ),
    "the attacks": (
        "evaluation/attacks/manifest.json",
        lambda p: with_value(p, ["attacks", 1, "steps"], 20),
        {"evaluation/attacks"},
    ),
    "a certificate": (
        "evaluation/certificates.parquet",
        lambda p: rewritten(p, radius=9.0, prediction=0, label=0),
        {"evaluation/certificates.parquet", "evaluation/certified"},
    ),
    "whose the blocks are": (
        "evaluation/attacks/manifest.json",
        lambda p: with_value(p, ["weights"], "0" * 16),
        {"evaluation/records"},
    ),
    "the seed of the blocks": (
        "evaluation/attacks/manifest.json",
        lambda p: with_value(p, ["seed"], 9),
        {"evaluation/records"},
    ),
    "the draws of the certificates": (
        "evaluation/certification-0.25/certification.json",
        lambda p: with_value(p, ["n"], 7),
        {"evaluation/records"},
    ),
    "the page": (
        "evaluation/report.html",
        lambda p: edited(p, "Robust accuracy", "Robuster accuracy"),
        {"evaluation/report.html"},
    ),
    "the noise table": (
        "evaluation/noise.json",
        lambda p: with_value(p, [0, "sigma"], 0.7),
        {"evaluation/parts"},
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_one_thing_that_is_changed_is_named(run_folder, what):
    name, change, wanted = CHANGES[what]
    path = run_folder / name
    with changed(path, change(path)):
        checks = verified(run_folder)
        assert failures(checks) == wanted


def test_stored_images_that_are_gone_are_told(run_folder, tmp_path):
    stored, before = run_folder / "evaluation" / "attacks" / "adversarial", verified(run_folder)
    one = sorted(stored.iterdir())[0]
    shutil.move(one, tmp_path)
    try:
        checks = verified(run_folder)
        assert failures(checks) == {"evaluation/adversarial images"}
        assert one.name in checks["evaluation/adversarial images"].detail
    finally:
        shutil.move(tmp_path / one.name, one)
    shutil.move(stored, tmp_path / "all")
    try:
        checks = verified(run_folder)
        assert failures(checks) == set() and checks["evaluation/adversarial images"].ok is None
    finally:
        shutil.move(tmp_path / "all", stored)
    assert failures(before) == set()


@pytest.mark.parametrize(
    ("split", "wanted"),
    [
        ("train", {"data/training images"}),
        ("val", {"data/validation images"}),
        ("test", {"data/test images", "evaluation/images"}),
    ],
)
def test_an_image_that_is_changed_is_named_by_its_set(run_folder, images, split, wanted):
    path = images / split / "dark" / "0.png"
    with changed(path, repainted(path)):
        checks = verified(run_folder)
        assert failures(checks) == wanted
    with changed(path, None):
        checks = verified(run_folder)
        assert failures(checks) == wanted
        assert "not" in checks[min(wanted)].detail


def test_the_weights_that_a_run_began_with(run_folder, weights):
    with changed(weights, flipped(weights)):
        checks = verified(run_folder)
        assert failures(checks) == {"weights"}
        assert checks["weights"].detail == f"{weights} is not the file that the run began with"
    with changed(weights, None):
        checks = verified(run_folder)
        assert failures(checks) == set()
        assert checks["weights"].detail == f"{weights} is no longer there"


def test_data_that_are_gone_are_told_and_fail_nothing(run_folder, images):
    away = images.with_name("elsewhere")
    images.rename(away)
    try:
        checks = verified(run_folder)
        assert failures(checks) == set()
        assert checks["data"].detail == f"{images} is no longer there"
        assert checks["evaluation/images"].detail == f"{images} is no longer there"
    finally:
        away.rename(images)


def test_another_trained_network_in_its_place(run_folder, tmp_path):
    """A whole folder, with the right hashes of its own."""
    import surgeon

    network, trained = surgeon.load(run_folder / "trained"), run_folder / "trained"
    with torch.no_grad():
        next(network.parameters()).add_(0.5)
    shutil.move(trained, tmp_path / "kept")
    try:
        exchanged(network, trained)
        checks = verified(run_folder)
        assert failures(checks) == {"trained/weights", "evaluation/network"}
        assert "the tensors are not those of training/last.safetensors" in checks["trained/weights"].detail
    finally:
        shutil.rmtree(trained)
        shutil.move(tmp_path / "kept", trained)


def test_a_network_of_another_surgery_in_its_place(run_folder, weights, tmp_path):
    import surgeon

    trained = run_folder / "trained"
    stock = surgeon.create_model(
        "zoo/lenet5", num_classes=2, in_chans=1, input_size=(1, 32, 32), weights=str(weights)
    )
    shutil.move(trained, tmp_path / "kept")
    try:
        exchanged(surgeon.apply(stock, "noise", input_size=(1, 32, 32)), trained)
        assert {"trained/surgery", "trained/weights", "evaluation/network"} <= failures(verified(run_folder))
    finally:
        shutil.rmtree(trained)
        shutil.move(tmp_path / "kept", trained)


def test_an_adversarial_image_outside_of_its_ball(run_folder):
    from safetensors import safe_open
    from safetensors.torch import save

    path = next((run_folder / "evaluation" / "attacks" / "adversarial").glob("*.safetensors"))
    with safe_open(path, "pt") as file:
        kept, about = file.get_tensor("images"), file.metadata()
    kept[0, 0, 0, 0] = 1 - kept[0, 0, 0, 0].round()
    with changed(path, save({"images": kept}, metadata=about)):
        checks = verified(run_folder)
        assert failures(checks) == {"evaluation/adversarial images"}
        assert "left the ball" in checks["evaluation/adversarial images"].detail


def test_a_picture_that_is_gone(run_folder):
    path = next((run_folder / "evaluation" / "pictures").glob("*.png"))
    with changed(path, None):
        checks = verified(run_folder)
        assert failures(checks) == {"evaluation/pictures"}
        assert path.name in checks["evaluation/pictures"].detail


def test_a_picture_that_is_another(run_folder, tmp_path):
    one, other, *_ = sorted((run_folder / "evaluation" / "pictures").glob("*.png"))
    with changed(one, other.read_bytes()):
        checks = verified(run_folder)
        assert failures(checks) == {"evaluation/pictures"}
        assert f"not as they were drawn: {one.name}" in checks["evaluation/pictures"].detail
        with pytest.raises(ArtifactError, match=rf"{one.name} is not the picture that was drawn"):
            report([run_folder / "evaluation"], tmp_path / "page.html")


def test_a_block_of_verdicts_that_is_changed(run_folder):
    path = next((run_folder / "evaluation" / "attacks" / "blocks").glob("*.parquet"))
    with changed(path, rewritten(path, linf=0.0123)):
        checks = verified(run_folder)
        assert failures(checks) == {"evaluation/verdicts.parquet"}
        assert "linf is" in checks["evaluation/verdicts.parquet"].detail


def test_images_that_are_read_one_by_one_and_two_classes_swapped(tmp_path):
    from surgeon.pipeline import train
    from surgeon.recipe import load_recipe

    data = tmp_path / "images"
    pictures(data)
    recipe = load_recipe("plain", [*TRAINING, "data.in_memory=never"])
    train([recipe], "zoo/lenet5", tmp_path / "run", data=str(data), input_size=SIZE)
    assert failures(verified(tmp_path / "run")) == set()
    for old, new in (("dark", "between"), ("light", "dark"), ("between", "light")):
        (data / "train" / old).rename(data / "train" / new)
    checks = verified(tmp_path / "run")
    assert failures(checks) == {"data/training images"}
    assert checks["data/training images"].detail.startswith(f"{data} does not hold what it held: other ")


def test_a_run_that_another_process_may_be_working_in(run_folder):
    from surgeon.disk.hidden import lock_beside

    lock_beside(run_folder).touch()
    try:
        checks = verified(run_folder)
        assert failures(checks) == set() and checks["in use"].ok is None
    finally:
        lock_beside(run_folder).unlink()


def test_a_training_that_was_stopped_is_no_failure(tmp_path, images, weights, monkeypatch):
    import signal

    from surgeon import interrupts
    from surgeon.pipeline import train
    from surgeon.recipe import load_recipe

    recipe = load_recipe("kap", ["training.epochs=3", "training.batch_size=8"])
    given = {"data": str(images), "weights": str(weights), "input_size": (1, 32, 32)}
    with monkeypatch.context() as patch, pytest.raises(interrupts.Stopped):
        patch.setattr(interrupts, "asked", lambda: signal.SIGTERM)
        train([recipe], "zoo/lenet5", tmp_path / "run", **given)
    checks = verified(tmp_path / "run")
    assert failures(checks) == set()
    assert checks["training"].detail == "not finished: up to epoch 0 of 3; the same command goes on"
    train([recipe], "zoo/lenet5", tmp_path / "run", **given)
    checks = verified(tmp_path / "run")
    assert failures(checks) == set()
    assert checks["training"].detail == "3 of 3 epochs"
