"""Images that a training refuses before its first step, and those that it takes."""

import pytest
import torch
from torch.utils.data import TensorDataset

from surgeon.data import Images
from surgeon.errors import DataError
from surgeon.recipe import Adversary, Training
from surgeon.training import fit

pytest.importorskip("accelerate")
ONE = Training(epochs=1, batch_size=16)
ATTACKED = ONE.model_copy(update={"adversary": Adversary(method="fgsm", eps=0.03)})
NORMALIZE = ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def pixels(count=16):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(count) % 5


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda x: x * 255, r"train has images over \[.*\], not \[0, 1\]; they look like 0–255"),
        (lambda x: x.long(), "train has images of torch.int64; give bytes"),
        (lambda x: x * float("nan"), "train: images have values that are not a number"),
        (lambda x: x / 0, "not finite"),
        (lambda x: x[:, :1], r"train: images have 1 channels .* takes 3: images.expand\(-1, 3, -1, -1\)"),
        (lambda x: x.flatten(1), r"train must be a batch \(N, C, H, W\)"),
        (lambda x: x.numpy(), "train must be one tensor .* ndarray"),
    ],
)
def test_images_of_another_kind_are_refused(tiny, change, told):
    x, y = pixels()
    before = {k: v.clone() for k, v in tiny.state_dict().items()}
    with pytest.raises(DataError, match=told):
        fit(tiny, Images(change(x), y), None, ONE, progress=False)
    assert all(torch.equal(v, before[k]) for k, v in tiny.state_dict().items())


def test_validation_images_and_those_of_a_dataset_are_looked_at_too(tiny):
    x, y = pixels()
    with pytest.raises(DataError, match="val has images over"):
        fit(tiny, Images(x, y), Images(x * 255, y), ONE, progress=False)
    with pytest.raises(DataError, match="train has images over"):
        fit(tiny, TensorDataset(x * 255, y), None, ONE, progress=False)
    with pytest.raises(DataError, match="train: images have 1 channels"):
        fit(tiny, TensorDataset(x[:, :1], y), None, ONE, progress=False)


def test_normalised_images_are_for_trainings_that_neither_normalise_nor_attack(tiny):
    x, y = pixels()
    normalised = Images((x - 0.5) / 0.2, y)
    assert len(fit(tiny, normalised, None, ONE, progress=False)) == 1
    for settings, normalize in ((ATTACKED, None), (ONE, NORMALIZE)):
        with pytest.raises(DataError, match="they look normalised already"):
            fit(tiny, normalised, None, settings, normalize=normalize, progress=False)


def test_bytes_are_taken(tiny):
    x, y = pixels()
    assert len(fit(tiny, Images((x * 255).to(torch.uint8), y), None, ATTACKED, progress=False)) == 1
