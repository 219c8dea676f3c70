"""Streams of images: their random numbers, their lengths, and images that a training does not take."""

import random
import warnings

import numpy
import pytest
import torch
from torch import nn
from torch.utils.data import IterableDataset

from surgeon.data import Images
from surgeon.errors import DataError
from surgeon.recipe import Adversary, Training
from surgeon.training import fit

pytest.importorskip("accelerate")
ONCE = {"device": "cpu", "progress": False}
X = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 4
TWO = Training(epochs=2, batch_size=8, lr=0.05)
NORMALIZE = ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
CHANCE = {"python": random.random, "numpy": numpy.random.rand, "torch": lambda: float(torch.rand(()))}


class Given(IterableDataset):
    """Images in order, each changed by `change`; it says that it has `length` of them."""

    def __init__(self, change=lambda x: x, length=40, passes=(40,) * 99):
        self.change, self.length, self.passes = change, length, iter(passes)

    def __len__(self):
        return self.length

    def __iter__(self):
        for i in range(next(self.passes)):
            yield self.change(X[i]), int(Y[i])


class Drawn(IterableDataset):
    """Images in an order that is drawn, with noise that is drawn too; it ends in an interrupt after `stop` images."""

    def __init__(self, draw, stop=None):
        self.draw, self.stop, self.given = draw, stop, 0

    def __len__(self):
        return 40

    def __iter__(self):
        for i in torch.randperm(40).tolist():
            self.given += 1
            if self.given == self.stop:
                raise KeyboardInterrupt
            yield (X[i] * (0.5 + 0.5 * self.draw())).clamp(0, 1).float(), int(Y[i])


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _made()


def _made():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 4))


def weights_after(stream, folder=None):
    model = network()
    fit(model, stream, None, TWO, folder=folder, save_every=0, **ONCE)
    return model.state_dict()


@pytest.mark.parametrize("chance", CHANCE)
@pytest.mark.parametrize("stop", [12, 40, 61], ids=["first-epoch", "boundary", "second-epoch"])
def test_what_a_stream_draws_is_the_same_again_also_after_an_interrupt(chance, stop, tmp_path):
    draw = CHANCE[chance]
    whole = weights_after(Drawn(draw))
    random.seed(5), numpy.random.seed(5), torch.manual_seed(5)
    states = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state()
    again = weights_after(Drawn(draw))
    assert states[0] == random.getstate() and states[1] == numpy.random.get_state()[1].tolist()
    assert torch.equal(states[2], torch.get_rng_state())
    with pytest.raises(KeyboardInterrupt):
        weights_after(Drawn(draw, stop), tmp_path / "run")
    resumed = weights_after(Drawn(draw), tmp_path / "run")
    assert all(torch.equal(v, again[k]) and torch.equal(v, resumed[k]) for k, v in whole.items())


@pytest.mark.parametrize("chance", CHANCE)
def test_what_a_validation_stream_draws_is_the_same_in_each_epoch(chance):
    settings = TWO.model_copy(update={"lr": 1e-20, "optimizer": "sgd", "weight_decay": 0.0})
    one, other = fit(network(), Images(X, Y), Drawn(CHANCE[chance]), settings, **ONCE)
    # The order of the sum is the same too, so that the figures are.
    assert one.val_loss == other.val_loss


@pytest.mark.parametrize("passes", [(0, 40), (40, 0)], ids=["none", "once"])
def test_a_validation_stream_that_gives_nothing_is_refused(passes):
    with pytest.raises(
        DataError, match=r"val gives no image in this pass, where its __len__ says 40: .* begin again"
    ):
        fit(network(), Images(X, Y), Given(passes=passes), TWO, **ONCE)


@pytest.mark.parametrize(
    ("length", "passes", "words"),
    [
        (60, (20, 20), ["20 images where its __len__ says 60"]),
        (16, (40, 40), ["40 images where its __len__ says 16"]),
        (40, (20, 10), ["20 images where its __len__ says 40", "10 images where its __len__ says 40"]),
        (40, (40, 40), []),
    ],
    ids=["fewer", "more", "other-images", "as-many"],
)
def test_a_validation_stream_of_another_length_is_told(length, passes, words, recwarn):
    warnings.simplefilter("default")
    fit(network(), Images(X, Y), Given(length=length, passes=passes), TWO, **ONCE)
    said = [str(w.message) for w in recwarn if "__len__" in str(w.message)]
    assert len(said) == len(words) and all(word in s for word, s in zip(words, said, strict=True))


class Listed(torch.utils.data.Dataset):
    """The same images by index."""

    def __init__(self, change):
        self.change = change

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return self.change(X[index]), int(Y[index])


def normalised(x):
    return (x - 0.5) / 0.2


@pytest.mark.parametrize(
    "make",
    [
        lambda: Given(normalised),
        lambda: Listed(lambda x: normalised(x).numpy()),
        lambda: Listed(lambda x: x if x is X[0] or torch.equal(x, X[0]) else normalised(x)),
    ],
    ids=["stream", "arrays", "not-the-first"],
)
@pytest.mark.parametrize("how", ["attacked", "normalised"])
def test_images_outside_pixels_are_refused_where_they_are_attacked_or_normalised(make, how):
    settings, more = TWO, {"normalize": NORMALIZE}
    if how == "attacked":
        settings, more = TWO.model_copy(update={"adversary": Adversary(method="fgsm", eps=0.03)}), {}
    for name in ("train", "val"):
        one, other = (make(), None) if name == "train" else (Images(X, Y), make())
        with pytest.raises(DataError, match=rf"{name} has images over \[-2.*look normalised already"):
            fit(network(), one, other, settings, **more, **ONCE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x.permute(1, 2, 0), "8 channels"),
        (lambda x: x[:1], "1 channels .*expand"),
        (lambda x: x[:, :5], "3×5×8, and the network does not take them"),
        (lambda x: (x > 0.5).byte(), "bytes of 0 and 1 alone"),
        (lambda x: (x * 255).byte().permute(1, 2, 0).numpy(), "8 channels"),
    ],
    ids=["channels-last", "gray", "other-size", "bytes-of-0-and-1", "bytes-in-arrays"],
)
@pytest.mark.parametrize("kind", [Given, Listed])
def test_images_that_a_network_does_not_take_are_told_before_a_step(change, words, kind):
    for name in ("train", "val"):
        model = network()
        before = {k: v.clone() for k, v in model.state_dict().items()}
        one, other = (kind(change), None) if name == "train" else (Images(X, Y), kind(change))
        with pytest.raises(DataError, match=f"{name}.*{words}"):
            fit(model, one, other, TWO, **ONCE)
        if name == "train":
            assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
