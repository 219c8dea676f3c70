"""Tensors that torch conjugates or negates as they are read, and complex ones: written, compared and averaged so."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from surgeon.disk.stored import stored
from surgeon.errors import ArtifactError, ArtifactWarning
from surgeon.models.calibration import first_copies
from surgeon.models.checkpoints import load_weights
from surgeon.models.finite import all_finite, check_finite_weights
from surgeon.models.tensor_files import same_tensors
from surgeon.store.dropped import dropped
from surgeon.training.average import EqualAverage, MovingAverage


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4, dtype=torch.complex64))
        self.bias = nn.Parameter(torch.randn(4))
        self.register_buffer("conjugated", torch.randn(3, dtype=torch.complex64).conj())
        self.register_buffer("negated", torch.randn(3)._neg_view())


def test_views_are_written_as_they_are_read(tmp_path):
    state = Complex().state_dict()
    assert state["conjugated"].is_conj() and state["negated"].is_neg()
    save_file(stored(state), tmp_path / "one.safetensors")
    again = load_file(tmp_path / "one.safetensors")
    assert all(torch.equal(again[k], v) for k, v in state.items())
    torch.save(state, tmp_path / "other.pth")
    assert same_tensors(tmp_path / "one.safetensors", tmp_path / "other.pth")


def test_complex_numbers_that_no_file_holds_are_named():
    with pytest.raises(ArtifactError, match=r"w is of torch\.complex128, .* convert it to torch\.complex64"):
        stored({"w": torch.zeros(2, dtype=torch.complex128)})


def test_copies_are_known_where_images_are_views():
    images = torch.stack([torch.ones(2), -torch.ones(2), torch.ones(2)])
    assert first_copies(images._neg_view()).tolist() == first_copies(-images).tolist() == [0, 1, 0]


def test_complex_weights_are_asked_whether_they_are_finite():
    network = Complex()
    with torch.no_grad():
        network.weight[0, 0] = complex(0, float("inf"))
    assert not all_finite([network.weight])
    with pytest.raises(ArtifactError, match=r"NaN or infinite: weight \(1 of 12 values\)"):
        check_finite_weights(Complex(), network.state_dict(), "a file")


def test_averages_of_complex_weights():
    network, decay, passed = Complex(), 0.9, []
    moving, equal = (
        MovingAverage(network, decay, torch.device("cpu")),
        EqualAverage(network, 0, torch.device("cpu")),
    )
    wanted = network.weight.detach().to(torch.complex128)
    for epoch in range(3):
        with torch.no_grad():
            network.weight.add_(torch.randn_like(network.weight))
        moving.step(network), equal.epoch(network, epoch)
        passed.append(network.weight.detach().to(torch.complex128))
        wanted = decay * wanted + (1 - decay) * passed[-1]
    for average, right in ((moving, wanted), (equal, torch.stack(passed).mean(0))):
        assert (average.module.weight - right).abs().max() < 1e-5 * right.abs().max()


def test_another_view_of_memory_that_is_written_is_told_as_not_written():
    layer = nn.Module()
    layer.register_buffer("one", torch.randn(3, 3, dtype=torch.complex64))
    views = {"turned": layer.one.t(), "conjugated": layer.one.conj()}
    for name, view in views.items():
        layer.register_buffer(name, view)
    layer.register_buffer("same", layer.one.view(3, 3))
    assert dropped(layer, {"one": layer.one}) == ["turned", "conjugated"]


def test_complex_weights_are_rounded_with_a_word(tmp_path):
    network = Complex()
    state = {
        k: v.to(torch.complex128) * (1 + 1e-12) if k == "weight" else v
        for k, v in network.state_dict().items()
    }
    torch.save(state, tmp_path / "w.pth")
    with pytest.warns(
        ArtifactWarning, match=r"complex128, and the network in complex64: 1 of 4 tensors.*weight"
    ):
        load_weights(network, tmp_path / "w.pth")
