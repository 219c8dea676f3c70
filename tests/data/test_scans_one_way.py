"""The digits of one size are the same images for training, calibration and evaluation."""

from __future__ import annotations

import pytest
import torch

from surgeon.data import held_out, labelled, load_sets

pytest.importorskip("sklearn")


@pytest.mark.parametrize("size", [(1, 8, 8), (1, 24, 24), (3, 20, 28)])
def test_training_evaluation_and_calibration_read_the_same_pixels(size: tuple[int, int, int]) -> None:
    sets, test = load_sets("digits", input_size=size), held_out("digits", size)
    assert torch.equal(torch.as_tensor(test.x), torch.as_tensor(sets.test.x))
    some = labelled("digits", size, count=20, split="test", seed=3)
    for image, label in zip(some.x, some.y, strict=True):
        same = (sets.test.x == image).flatten(1).all(1)
        assert same.any() and bool((sets.test.y[same] == label).all())
