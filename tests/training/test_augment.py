"""Augmentation: each image in its own way, the same way whoever does it."""

import pytest
import torch

import surgeon
from surgeon.data import Images
from surgeon.errors import SurgeonError
from surgeon.recipe import Training
from surgeon.tensors.shard import Shard
from surgeon.training import fit
from surgeon.training.augment import augment, crop, mix, mixer

PAD_AND_FLIP = Training(pad=2, flip=True)


def numbered(n=6, size=5):
    return torch.arange(n * 3 * size * size, dtype=torch.float32).view(n, 3, size, size) + 1


def test_crop_is_the_window_of_the_padded_image():
    x = numbered(3)
    shifts = torch.tensor([[0, 0], [2, 2], [4, 1]])
    found = crop(x, shifts, 2)
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    for i, (a, b) in enumerate(shifts.tolist()):
        assert torch.equal(found[i], padded[i, :, a : a + 5, b : b + 5])
    assert torch.equal(found[1], x[1])


def test_every_image_is_a_window_mirrored_or_not():
    x = numbered(64)
    found = augment(x, PAD_AND_FLIP, Shard(0, 64), 0, 1, 2)
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    seen = set()
    for i in range(64):
        matches = [
            (a, b, m)
            for a in range(5)
            for b in range(5)
            for m in (False, True)
            if torch.equal(found[i].flip(2) if m else found[i], padded[i, :, a : a + 5, b : b + 5])
        ]
        seen.update(matches[:1])
        assert matches
    assert len(seen) > 25


def test_the_parts_of_a_batch_are_augmented_as_the_whole():
    x = numbered(7)
    whole = augment(x, PAD_AND_FLIP, Shard(0, 7), 0, 1, 2)
    parts = [augment(x[a:b], PAD_AND_FLIP, Shard(a, 7), 0, 1, 2) for a, b in ((0, 3), (3, 7))]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(augment(x, PAD_AND_FLIP, Shard(0, 7), 0, 1, 3), whole)


def test_nothing_asked_nothing_done():
    x = numbered()
    assert augment(x, Training(), Shard(0, 6), 0) is x


@pytest.mark.parametrize("n", [6, 7, 1])
def test_mixed_images_and_labels_belong_together(n):
    import numpy

    numpy.random.seed(0)
    before = numpy.random.get_state()[1].copy()
    x, y = torch.eye(7)[:n].view(n, 1, 1, 7), torch.arange(n)
    kept = x.clone()
    found, soft = mix(mixer(Training(mixup=1.0), 7), x, y, 0, 1)
    assert torch.allclose(found.view(n, 7), soft, atol=1e-6)
    assert torch.allclose(soft.sum(1), torch.ones(n))
    assert torch.equal(x, kept)
    assert (numpy.random.get_state()[1] == before).all()
    assert torch.equal(mix(mixer(Training(mixup=1.0), 7), x, y, 0, 1)[0], found)
    if n % 2:
        assert torch.equal(found[-1], x[-1])


def test_smoothed_labels_are_torchs():
    x, y = torch.rand(3, 1, 4, 4), torch.tensor([0, 2, 1])
    _, soft = mix(mixer(Training(mixup=1e-9, smoothing=0.3), 4), x, y, 0)
    logits = torch.randn(1, 4)
    ours = torch.nn.functional.cross_entropy(logits, soft[2:])
    assert torch.allclose(ours, torch.nn.functional.cross_entropy(logits, y[2:], label_smoothing=0.3))


def test_mixup_trains_and_refuses_what_cannot_have_soft_labels(tiny):
    data = Images(torch.rand(33, 3, 8, 8), torch.arange(33) % 5)
    settings = Training(epochs=1, batch_size=16, mixup=0.4, cutmix=1.0, smoothing=0.1)
    anl = surgeon.apply(tiny, "anl", input_size=(3, 8, 8))
    assert fit(anl, data, data, settings)[0].loss > 0
    with pytest.raises(SurgeonError, match="soft labels"):
        fit(surgeon.apply(tiny, "canl", input_size=(3, 8, 8)), data, None, settings)
    bare = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 8), torch.nn.Flatten())
    with pytest.raises(SurgeonError, match="mixup needs to know the number of classes"):
        fit(bare, data, None, settings)
