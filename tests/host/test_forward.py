"""A rewritten network in a caller's own loop: the forward pass is the caller's, in whatever state that is."""

import copy

import pytest
import torch

import surgeon
from tests.host import recipes, states

CHANGES_NOTHING = ("float64", "device", "default device", "deterministic", "anomaly", "function mode")


@pytest.mark.parametrize("recipe", recipes.CUTTING)
def test_a_step_is_the_same_where_the_stock_networks_would_be(recipe):
    cut, (x, y) = recipes.network(recipe), recipes.batch()
    networks = {state: copy.deepcopy(cut) for state in CHANGES_NOTHING}
    logits, gradients, evaluated = recipes.step(cut, x, y)
    for state, network in networks.items():
        with states.STATES[state]():
            found = recipes.step(network, x, y)
        assert torch.equal(found[0], logits), state
        assert all(torch.equal(a, b) for a, b in zip(found[1], gradients, strict=True)), state
        assert torch.equal(found[2], evaluated), state


@pytest.mark.parametrize("recipe", recipes.CUTTING)
def test_autocast_makes_of_it_what_it_makes_of_the_stock_network(recipe):
    cut, (x, y) = recipes.network(recipe).eval(), recipes.batch()
    stock = recipes.Small().eval()
    with torch.no_grad():
        torch.manual_seed(4)  # for layers that are always random
        exact = copy.deepcopy(cut).double()(x.double())
        torch.manual_seed(4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = cut(x)
            assert found.dtype == stock(x).dtype == torch.bfloat16
    assert (
        found.double() - exact
    ).norm() <= 0.02 * exact.norm()  # rounding to eight bits gave 0.002 to 0.003
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, gradients, _ = recipes.step(cut, x, y)
    assert logits.dtype == torch.bfloat16 and all(
        bool(g.isfinite().all()) for g in gradients if g is not None
    )


@pytest.mark.parametrize("method", ["forward_features", "forward_head"])
def test_a_graph_that_is_first_asked_for_in_inference_mode_trains_afterwards(method):
    model = surgeon.create_model("resnet18", num_classes=4, model_args={"channels": [8] * 4})
    cut = surgeon.apply(model, "kap", input_size=(3, 32, 32)).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        cut.forward_head(cut.forward_features(x)) if method == "forward_head" else cut.forward_features(x)
    given = x if method == "forward_features" else cut.forward_features(x)
    getattr(cut, method)(given).sum().backward()
    assert not any(t.is_inference() for t in (*cut.parameters(), *cut.buffers()))
    assert cut.conv1.weight.grad is not None


def test_a_network_cut_in_inference_mode_trains():
    with torch.inference_mode():
        cut = surgeon.apply(recipes.Small(), "kap+anl", input_size=recipes.SIZE)
    optimizer = torch.optim.SGD(cut.parameters(), lr=0.1)
    before = copy.deepcopy(cut.state_dict())
    recipes.step(cut, *recipes.batch())
    optimizer.step()
    assert not torch.equal(cut.conv1.weight, before["conv1.weight"])
