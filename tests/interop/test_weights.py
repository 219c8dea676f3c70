"""Weights and copies of a rewritten network by torch's own means."""

import copy
import io
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


def test_copies_are_stacked_and_called_at_once(model, batch):
    x, _ = batch
    twins = [copy.deepcopy(model) for _ in range(3)]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for twin in twins[1:]:
            for parameter in twin.parameters():
                parameter.mul_(1 + 0.1 * torch.randn(parameter.shape, generator=generator))
    parameters, buffers = torch.func.stack_module_state(twins)
    base = copy.deepcopy(twins[0]).to("meta")

    def run(p, b):
        return torch.func.functional_call(base, (p, b), (x,))

    found = torch.func.vmap(run)(parameters, buffers)
    torch.testing.assert_close(found, torch.stack([t(x) for t in twins]), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(found[0], found[1], rtol=0.01)


def test_copies_of_one_class_change_by_themselves(model, batch):
    x, _ = batch
    twin = copy.deepcopy(model)
    assert type(twin) is type(model)
    wanted = model(x)
    for node in twin.graph.nodes:
        if node.op == "output":
            with twin.graph.inserting_before(node):
                node.args = (twin.graph.call_function(torch.mul, (node.args[0], 2)),)
    assert torch.equal(twin(x), wanted)  # as of a graph that is not compiled yet
    twin.recompile()
    assert torch.equal(twin(x), 2 * wanted) and torch.equal(model(x), wanted)
    third = copy.deepcopy(twin)
    assert type(twin) is not type(model) and type(third) is type(twin)
    assert torch.equal(third(x), 2 * wanted) and type(third).__name__ == type(model).__name__
    another = copy.deepcopy(model)
    another.reset_classifier(7)
    assert another(x).shape[1] == 7 and torch.equal(model(x), wanted)


def test_torch_package_holds_both_graphs(cut, batch):
    model = cut("anl")
    file = io.BytesIO()
    with torch.package.PackageExporter(file) as exporter:
        exporter.extern("**")
        exporter.save_pickle("model", "model.pkl", model)
    file.seek(0)
    read = torch.package.PackageImporter(file).load_pickle("model", "model.pkl")
    for training in (False, True):
        torch.testing.assert_close(read.train(training)(batch[0]), model.train(training)(batch[0]))
    assert type(read) is not type(model) and read.surgery == model.surgery
