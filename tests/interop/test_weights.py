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


def test_vmap_over_two_networks_weights_and_forward_mode(model, batch):
    x, _ = batch
    names = dict(model.named_parameters())
    twice = {k: torch.stack([v.detach(), 0.9 * v.detach()]) for k, v in names.items()}

    def run(weights):
        return torch.func.functional_call(model, weights, (x,))

    wanted = torch.stack([run({k: v[i] for k, v in twice.items()}) for i in range(2)])
    torch.testing.assert_close(torch.func.vmap(run)(twice), wanted, rtol=1e-4, atol=1e-5)
    whole = copy.deepcopy(model).double()
    z, step = x.double().requires_grad_(), torch.randn_like(x).double()
    _, along = torch.func.jvp(whole, (z.detach(),), (step,))
    (back,) = torch.autograd.grad(whole(z)[:, 0].sum(), z)
    torch.testing.assert_close(along[:, 0].sum(), (back * step).sum())


def test_a_network_from_the_meta_device_draws_the_same_noise(cut):
    model = cut("kap")
    copied = copy.deepcopy(model).to("meta")
    copied.load_state_dict(model.state_dict(), assign=True)
    emptied = copy.deepcopy(model).to("meta").to_empty(device="cpu")
    emptied.load_state_dict(model.state_dict())
    outs = []
    for one in (model, copied, emptied):
        torch.manual_seed(0)
        outs.append(one.train().input_noise(torch.zeros(2, 3, 8, 8)))
    assert outs[0].std() > 0 and torch.equal(outs[0], outs[1]) and torch.equal(outs[0], outs[2])
