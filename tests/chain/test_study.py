"""A study: its arms share images and start, and its table is what their verdicts give."""

import shutil

import pytest
import torch

import surgeon
from tests.chain.changes import TRAINING, changed, exchanged, failures, pictures, verified, with_value

for package in ("accelerate", "torchattacks", "scipy", "pyarrow"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from surgeon.pipeline import study
    from surgeon.recipe import Evaluation, load_recipe

    place = tmp_path_factory.mktemp("study")
    data = pictures(place / "images")
    study(
        [load_recipe("kap", TRAINING)],
        "zoo/lenet5",
        place / "study",
        data=data,
        input_size=(1, 32, 32),
        evaluation=Evaluation(samples=8, steps=1, attacks=("fgsm",)),
    )
    return place / "study"


def test_an_untouched_study_fits(folder):
    from surgeon.pipeline.verifying import verify_folder

    checks = verify_folder(folder)
    assert {c.name: c.detail for c in checks if not c.ok} == {}
    details = {c.name: c.detail for c in checks}
    assert details["one set of images"] == "the same for 6 runs"
    assert details["one start, seed 0"] == "the same network for 5 arms, that of base"
    assert details["table.json"] == "5 arms, as their verdicts add up"


def test_a_number_of_the_table(folder):
    table = folder / "table.json"
    with changed(table, with_value(table, ["arms", 2, "worst", 0], 0.987)):
        checks = verified(folder)
        assert failures(checks) == {"table.json"}
        assert "arms[2].worst[0] is 0.987" in checks["table.json"].detail


def test_an_arm_on_other_images(folder):
    settings = folder / "surgery" / "0" / "settings.json"
    with changed(settings, with_value(settings, ["contents", "test images", "pixels"], "0" * 32)):
        checks = verified(folder)
        assert failures(checks) == {"surgery/0/data/test images", "one set of images"}


def test_an_arm_with_another_start(folder, tmp_path):
    """Everything in the arm fits together; its start alone is another."""
    arm = folder / "stock" / "0"
    shutil.copytree(arm, tmp_path / "kept")
    network = surgeon.load(arm / "cut")
    with torch.no_grad():
        next(network.parameters()).add_(0.5)
    try:
        for place in ("cut", "trained"):
            exchanged(network, arm / place)
        checks = verified(folder)
        assert failures(checks) == {"stock/0/evaluation/network", "one start, seed 0"}
        assert "does not begin with the network of stock" in checks["one start, seed 0"].detail
    finally:
        shutil.rmtree(arm)
        shutil.move(tmp_path / "kept", arm)


def test_an_arm_that_began_with_other_weights(folder):
    settings = folder / "placebo-fine-tuned" / "0" / "settings.json"
    with changed(settings, with_value(settings, ["contents", "weights"], "xxh3-128:" + "0" * 32)):
        checks = verified(folder)
        assert failures(checks) == {"placebo-fine-tuned/0/weights", "one set of images"}


def test_a_study_that_is_not_finished_is_no_failure(folder, tmp_path):
    arm = folder / "placebo-fine-tuned"
    table = folder / "table.json"
    shutil.move(arm, tmp_path / "kept")
    try:
        with changed(table, None):
            checks = verified(folder)
            assert failures(checks) == set()
            assert checks["table.json"].detail == "not finished: 4 of 5 runs; the same command goes on"
    finally:
        shutil.move(tmp_path / "kept", arm)
