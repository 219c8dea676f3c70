"""A small chain, made once by the real commands: images and weights → run → evaluation → report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chain.changes import EVALUATION, SIZE, TRAINING, pictures, stock_weights


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("chain")


@pytest.fixture(scope="session")
def images(place) -> Path:
    return Path(pictures(place / "images"))


@pytest.fixture(scope="session")
def weights(place) -> Path:
    return Path(stock_weights(place / "weights.safetensors"))


@pytest.fixture(scope="session")
def run_folder(place, images, weights) -> Path:
    """Cut, trained, attacked with kept images, certified, drawn, and reported."""
    from surgeon.pipeline import run
    from surgeon.recipe import load_recipe

    more = [
        "evaluation.keep=true",
        "evaluation.pictures=true",
        "evaluation.certify=[0.25]",
        "evaluation.certify_samples=2",
    ]
    recipe = load_recipe("kap", [*TRAINING, *EVALUATION, *more, "evaluation.certify_draws=100"])
    given = {"data": str(images), "weights": str(weights), "input_size": SIZE}
    run([recipe], "zoo/lenet5", place / "run", **given)
    return place / "run"
