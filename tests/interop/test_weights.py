"""Weights and copies of a rewritten network by torch's own means."""

import copy
import pickle

import pytest
import torch

import surgeon
from tests.interop.conftest import SIZE


def test_torch_save_and_load_of_the_whole_network(model, batch, tmp_path):
    x, _ = batch
    torch.save(model, tmp_path / "model.pt")
    assert torch.equal(torch.load(tmp_path / "model.pt", weights_only=False)(x), model(x))


def test_weights_alone_go_into_a_network_cut_the_same_way(model, stock, batch, tmp_path):
    x, _ = batch
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    weights = torch.load(tmp_path / "weights.pt", weights_only=True)
    other = surgeon.apply(stock, model.surgery.recipe, input_size=SIZE, seed=2).eval()
    assert not other.load_state_dict(weights).missing_keys
    assert torch.equal(other(x), model(x))


def test_pickle_and_deepcopy(model, batch):
    x, _ = batch
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(twin(x), model(x))
        assert twin.surgery == model.surgery
        assert not {t.data_ptr() for t in twin.parameters()} & {t.data_ptr() for t in model.parameters()}


def test_functional_call_and_vmap_over_weights(model, batch):
    x, _ = batch
    weights = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert torch.equal(torch.func.functional_call(model, weights, (x,)), model(x))


@pytest.mark.parametrize("recipe", ["kap", "anl"])
def test_a_folded_networks_weights_have_the_stock_names(cut, stock, batch, recipe):
    x, _ = batch
    folded = surgeon.fold(cut(recipe))
    stock.load_state_dict(folded.state_dict())
    assert torch.equal(stock(x), folded(x))
