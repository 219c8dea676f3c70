"""Hooks that change what a network computes are no part of its folder: saving says so, known by what they do."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import prune, spectral_norm, weight_norm

import surgeon
from surgeon.errors import ArtifactWarning

SIZE = (3, 32, 32)


def network(cut, dtype=torch.float32):
    torch.manual_seed(0)
    stock = surgeon.create_model(
        "resnet18", num_classes=4, input_size=SIZE, model_args={"channels": [16] * 4}
    )
    stock = stock.eval().to(dtype)
    return surgeon.apply(stock, "kap", input_size=SIZE) if cut else stock


def said(model, folder):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ArtifactWarning)
        surgeon.save(model, folder)
    return [str(w.message) for w in caught if "does not hold all" in str(w.message)]


def _doubled(module, given, output):
    output.data.mul_(2)


CHANGE = {
    "the output": (
        lambda m: m.conv1.register_forward_hook(lambda m, x, y: 1.1 * y),
        "conv1 change its outputs",
    ),
    "the input": (
        lambda m: m.conv1.register_forward_pre_hook(lambda m, x: (2 * x[0],)),
        "conv1 change its outputs",
    ),
    "by keyword": (
        lambda m: m.fc.register_forward_hook(lambda m, x, named, y: y + 1, with_kwargs=True),
        "fc change its outputs",
    ),
    "the network's": (
        lambda m: m.register_forward_hook(lambda m, x, y: y.softmax(1)),
        "the network change its outputs",
    ),
    "at random": (lambda m: m.fc.register_forward_hook(lambda m, x, y: y + torch.randn_like(y)), "fc change"),
    "in place": (lambda m: m.conv1.register_forward_hook(_doubled), "conv1 change its outputs"),
    "what lets gradients through": (
        lambda m: m.conv1.register_forward_hook(lambda m, x, y: y.detach()),
        "conv1 change its gradients",
    ),
    "the gradient": (
        lambda m: m.conv1.register_full_backward_hook(lambda m, given, taken: tuple(0 * g for g in given)),
        "conv1 change its gradients",
    ),
}


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("kind", CHANGE)
def test_what_hooks_change_is_told_and_nothing_of_the_network_is_changed(kind, cut, tmp_path):
    model = network(cut)
    hook, text = CHANGE[kind]
    handle = hook(model)
    before, stream = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    (line,) = said(model, tmp_path / "net")
    assert text in line and "not written" in line and "\n" not in line
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    x = torch.randn(2, *SIZE, requires_grad=True)
    if "outputs" in text:
        assert not torch.allclose(model(x), surgeon.load(tmp_path / "net")(x), rtol=1e-3)
    handle.remove()
    assert not said(model, tmp_path / "again")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("cut", [False, True])
def test_hooks_that_look_are_not(cut, dtype, tmp_path):
    model, seen = network(cut, dtype), []
    for module in [m for m in model.modules() if not list(m.children())]:
        module.register_forward_hook(lambda m, x, y: seen.append(type(m)))
        module.register_forward_pre_hook(lambda m, x: None)
    model.fc.register_full_backward_hook(lambda m, given, taken: seen.append("backward"))
    assert said(model, tmp_path / "net") == [] and "backward" in seen


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "make", [lambda m: prune.l1_unstructured(m, "weight", 0.5), weight_norm, spectral_norm]
)
def test_what_makes_weights_is_told_as_that_alone(make, tmp_path):
    model = network(False)
    make(model.fc)
    with torch.no_grad():
        for name, tensor in model.fc.named_parameters():
            tensor.mul_(1.5 if name.startswith("weight") else 1)  # newer than what the hook has made
    assert said(model, tmp_path / "net") == []
    with pytest.warns(ArtifactWarning, match=r"not resnet18 as its name makes it: fc\.weight"):
        surgeon.save(model, tmp_path / "other")


def test_a_mask_that_is_laid_on_a_parameter_is_told_where_the_parameter_is_newer(tmp_path):
    model, mask = network(False), torch.ones(4, 16)
    mask[:, ::2] = 0
    model.fc.register_forward_pre_hook(lambda m, x: _lay(m, mask))
    (line,) = said(model, tmp_path / "net")
    assert "fc change its outputs" in line
    model(torch.randn(1, *SIZE))
    assert said(model, tmp_path / "laid") == []


def _lay(module, mask):
    with torch.no_grad():
        module.weight.mul_(mask)


@pytest.mark.filterwarnings("ignore:Sequential as it is cannot be made")
def test_where_it_cannot_be_tried_that_is_told(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    model[0].register_forward_hook(lambda m, x, y: y)
    (line,) = said(model, tmp_path / "net")
    assert "hooks on 0 are not written, and may change its outputs: its input size" in line


@pytest.mark.parametrize("cut", [False, True])
def test_an_export_holds_what_hooks_do(cut, tmp_path):
    model = network(cut)
    model.conv1.register_forward_hook(lambda m, x, y: 3 * y)
    done = surgeon.export(model, tmp_path / "net.pt2", format="torch-export", input_size=SIZE)
    x = torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(5))
    found, wanted = torch.export.load(tmp_path / "net.pt2").module()(x), model(x)
    assert surgeon.verification.relative(found, wanted) < 1e-5
    assert done.difference < 1e-5 < surgeon.verification.relative(network(cut)(x), wanted)


def test_the_doctor_compares_what_is_loaded(monkeypatch):
    from surgeon.pipeline import doctor, examine

    monkeypatch.setattr(doctor, "FORMATS", ())
    (save,) = [c for c in examine(network(True)) if c.name == "save"]
    assert save.ok and save.detail.endswith("with the same outputs when it is loaded")
    model = network(True)
    model.conv1.register_forward_hook(lambda m, x, y: 3 * y)
    (save,) = [c for c in examine(model) if c.name == "save"]
    assert (
        save.ok is False
        and "outputs differ" in save.detail
        and "hooks on conv1 change its outputs" in save.detail
    )
