"""Folding into the weights of the architecture, and into plain layers of a changed one: told apart, and both load."""

import json

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

import surgeon
from surgeon.evaluation.engine.subject import prepare
from surgeon.pipeline import examine
from surgeon.publishing import card
from surgeon.recipe import load_recipe, shipped
from surgeon.report.overview import factors
from surgeon.surgery.door import changed_by_fold
from tests.cli.commandline import invoke

SIZE = (3, 32, 32)
ARGS = dict(channels=(8, 8, 16, 16), layers=(1, 1, 1, 1))
CHANGING = {
    "silu": {"op": "smooth-activation", "beta": 1.0},
    "softplus": {"op": "smooth-activation", "to": "softplus", "beta": 4.0},
    "average": {"op": "soft-pool", "to": "average"},
    "depthwise": {"op": "soft-pool"},
    "blur": {"op": "blur-pool", "at": "conv"},
}


def stock():
    torch.manual_seed(0)
    return surgeon.create_model("resnet18", num_classes=4, model_args=ARGS).eval()


def cut(recipe, **more):
    return surgeon.apply(stock(), recipe, input_size=SIZE, **more).eval()


def images():
    return torch.rand(4, *SIZE, generator=torch.Generator().manual_seed(1))


def refused_by_timm(folder):
    with pytest.raises(RuntimeError, match=r"Unknown model \(surgeon/resnet18\)"):
        timm.create_model(f"local-dir:{folder}", pretrained=True)


@pytest.mark.parametrize("name", CHANGING)
def test_what_changes_the_architecture_is_loaded_by_surgeon_and_by_no_name(name, tmp_path):
    network, x = cut(CHANGING[name]), images()
    plan = network.surgery
    assert plan.folds and plan.leaves_architecture and plan.stock.startswith("no, into plain layers")
    folder = surgeon.save(surgeon.fold(network), tmp_path / "folded")
    refused_by_timm(folder)
    loaded = surgeon.load(folder)
    assert torch.allclose(loaded(x), network(x), atol=1e-5) and surgeon.surgery_of(loaded) is None
    again = surgeon.load(surgeon.save(loaded, tmp_path / "again"))
    assert torch.equal(again(x), loaded(x))
    refused_by_timm(tmp_path / "again")


def test_a_searched_setting_comes_back_from_the_folder(tmp_path):
    recipe = {"op": "smooth-activation", "to": "softplus", "budget": 0.9}
    network, x = cut(recipe, calibration=torch.rand(16, *SIZE)), images()
    folder = surgeon.save(surgeon.fold(network), tmp_path / "folded")
    assert torch.allclose(surgeon.load(folder)(x), network(x), atol=1e-5)


@pytest.mark.parametrize("name", [n for n in shipped() if load_recipe(n).surgery])
def test_no_recipe_is_called_stock_unless_timm_loads_what_it_folds_into(name, tmp_path):
    if not surgeon.plan(stock(), name, input_size=SIZE).folds:
        pytest.skip("does not fold")
    network = cut(name)
    folder = surgeon.save(surgeon.fold(network), tmp_path / "folded")
    if network.surgery.leaves_architecture:
        refused_by_timm(folder)
    else:
        by_timm = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        assert torch.allclose(by_timm(images()), network(images()), atol=1e-5)


def test_a_cut_without_tensors_of_its_own_is_not_loaded_by_timm_as_the_stock_network(tmp_path):
    refused_by_timm(surgeon.save(cut(CHANGING["average"]), tmp_path / "cut"))


def test_a_network_that_code_changed_is_not_loaded_by_timm_as_what_its_name_makes(tmp_path):
    model = stock()
    model.maxpool = torch.nn.AvgPool2d(3, 2, 1)
    with pytest.warns(UserWarning, match="timm refuses the folder"):
        surgeon.save(model, tmp_path / "changed")
    refused_by_timm(tmp_path / "changed")


def test_a_partial_fold_keeps_what_would_change_the_architecture_and_loads(tmp_path):
    network, x = cut("blur-pool"), images()
    assert network.surgery.stock == "in part"
    left = surgeon.fold(network, partial=True)
    assert [e.site for e in left.surgery.edits] == [e.site for e in network.surgery.edits]
    assert torch.equal(surgeon.load(surgeon.save(left, tmp_path / "left"))(x), network(x))


@pytest.mark.parametrize("name", ["blur", "depthwise", "silu"])
def test_what_ships_is_counted_on_the_folded_network(name):
    network, x = cut(CHANGING[name]), images()
    subject, said = prepare(network, x, torch.arange(4), "auto", name="", probabilities=False, seed=0)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        subject.model(x[:1])
    assert said.shipped.flops == counter.get_total_flops()
    assert said.shipped.parameters == sum(p.numel() for p in subject.model.parameters())
    found = type("Found", (), {"plan": network.surgery, "subject": said})
    known = factors(type("Run", (), {"found": found}))
    assert known["parameters"] == said.shipped.parameters / sum(p.numel() for p in stock().parameters())
    assert (known["flops"] > 1) == (name != "silu")
    kap = prepare(cut("kap"), x, torch.arange(4), "auto", name="", probabilities=False, seed=0)[1]
    assert kap.folded and kap.shipped is None


def test_commands_say_which_it_is(tmp_path):
    surgeon.save(cut(CHANGING["silu"]), tmp_path / "cut")
    code, said, error = invoke("fold", tmp_path / "cut", "-o", tmp_path / "folded")
    assert code == 0, error
    assert "no stock checkpoint, since smooth-activation exchanged layers" in said
    assert "surgeon export" in said and "a stock ResNet" not in said
    code, said, error = invoke("fold", tmp_path / "cut", "-o", tmp_path / "other", "--json")
    assert code == 0 and json.loads(said)["stock"] is False, error
    code, said, error = invoke("doctor", tmp_path / "folded")
    assert code == 0, said + error
    code, said, error = invoke(
        "plan", "smooth-activation", tmp_path / "folded", "--set", "smooth-activation.beta=1"
    )
    assert code == 2 and "Traceback" not in error
    code, said, error = invoke(
        "plan", "soft-pool", "resnet18", "--input-size", "3,32,32", "--set", "soft-pool.to=average"
    )
    assert code == 0 and "no, into plain layers" in " ".join(said.split()), error
    text = card.card(tmp_path / "folded", "someone/net")
    assert "| folds into a stock checkpoint | no, folded into plain layers" in text
    assert 'surgeon.load("hf-hub:someone/net")' in text and "timm.create_model" not in text
    assert "names and shapes are the stock network's" not in text


def test_the_doctor_tries_what_folding_wrote():
    found = {c.name: c for c in examine(cut(CHANGING["blur"]))}
    assert found["fold"].ok and "no stock checkpoint" in found["fold"].detail


def test_a_loaded_one_is_cut_again_and_its_evaluation_says_what_it_is(tmp_path):
    loaded = surgeon.load(surgeon.save(surgeon.fold(cut(CHANGING["average"])), tmp_path / "folded"))
    assert changed_by_fold(loaded).recipe
    said = prepare(loaded, images(), torch.arange(4), "auto", name="", probabilities=False, seed=0)[1]
    assert said.recipe and said.shipped is not None and not said.folded
    twice = surgeon.apply(loaded, {"op": "kap"}, input_size=SIZE).eval()
    with pytest.warns(UserWarning, match="give surgeon.load a network"):
        surgeon.save(twice, tmp_path / "twice")
    back = surgeon.load(tmp_path / "twice", model=loaded)
    assert torch.equal(back(images()), twice(images()))
