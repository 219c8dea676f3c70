"""Images of every layout and type of torch's: refused in words, or read as the numbers that they are."""

import warnings

import pytest
import torch

import surgeon
from surgeon.data import Images
from surgeon.errors import DataError
from surgeon.evaluation import Attack, evaluate
from surgeon.evaluation.beyond.corruptions import corrupt
from surgeon.images import plain
from surgeon.models.calibration import gathered
from surgeon.recipe import Training
from surgeon.training import fit


def nested(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor(list(x))


def quantised(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(x, 1 / 255, 0, torch.quint8)


ODD = {
    "sparse": (
        lambda x: x.to_sparse(),
        "are a tensor of layout sparse_coo; give a dense one, by .to_dense()",
    ),
    "mkldnn": (lambda x: x.to_mkldnn(), "are a tensor of layout mkldnn; give a dense one"),
    "nested": (nested, "are a nested tensor; give one of a single size"),
    "jagged": (
        lambda x: torch.nested.nested_tensor(list(x), layout=torch.jagged),
        "are a nested tensor; give one of a single size",
    ),
    "float8": (
        lambda x: x.to(torch.float8_e4m3fn),
        "are torch.float8_e4m3fn; give floats of 16 bits or more",
    ),
    "quantised": (quantised, r"are quantised \(torch.quint8\); give floats, by .dequantize"),
}


def network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)
    )


X, Y = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
SQUARE = [Attack(name="own", kind="own-pgd", eps=0.1, steps=2)]


@pytest.mark.parametrize("kind", ODD)
def test_images_that_are_no_plain_numbers_are_refused_at_every_door(kind):
    make, words = ODD[kind]
    doors = {
        "evaluate": lambda x: evaluate(network(), x, Y, SQUARE),
        "corrupt": lambda x: corrupt(x, "gaussian_noise", 1),
        "calibration": lambda x: surgeon.apply(network(), "noise", input_size=(1, 8, 8), calibration=x),
        "batches": lambda x: gathered([x]),
        "fit": lambda x: fit(network(), Images(x, Y), None, Training(epochs=1)),
    }
    for name, door in doors.items():
        with pytest.raises(DataError, match=words):
            door(make(X))
            pytest.fail(name)


def test_labels_that_are_sparse_are_refused():
    with pytest.raises(DataError, match="labels are a tensor of layout sparse_coo"):
        evaluate(network(), X, Y.to_sparse(), SQUARE)
    with pytest.raises(DataError, match="labels are a tensor of layout sparse_coo"):
        fit(network(), Images(X, Y.to_sparse()), None, Training(epochs=1))


def test_views_that_torch_negates_are_read_as_their_numbers():
    model, turned = network(), torch._neg_view(-X)
    assert turned.is_neg() and torch.equal(plain(turned, "images"), X) and plain(X, "images") is X
    one, other = (
        [(v.image, v.margin, v.success, v.linf) for v in evaluate(model, x, Y, SQUARE).verdicts]
        for x in (turned, X)
    )
    assert one == other
    assert torch.equal(corrupt(turned, "gaussian_noise", 1), corrupt(X, "gaussian_noise", 1))
    assert not gathered(turned).is_neg() and torch.equal(gathered(turned), X)
    assert torch.equal(gathered([turned]), X)


def test_weights_that_torch_negates_are_hashed_as_their_numbers():
    from surgeon.evaluation.engine.fingerprints import state_hash

    assert state_hash({"w": torch._neg_view(-X)}) == state_hash({"w": X})
