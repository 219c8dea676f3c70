"""Every kind of network in the zoo under every method: cut, verified, saved, loaded, folded."""

import pytest
import torch

import surgeon
from surgeon.errors import FoldError
from surgeon.models import input_size_of

AFTER_CONV = {"op": "adversarial-noise", "after": "conv"}
NETWORKS = {
    "lenet5": {},
    "cnn": {},
    "wm_cnn": {"same": True, "batch_norm": True},
    "wm_resnet": {"blocks": (1, 2, 1, 1)},
    "wm_densenet": {"layers": (1, 2, 1), "batch_norm": True},
    "cifar_resnet20": {},
    "shallow1": {},
    "shallow3": {},
    "pyramidnet48": {"depth": 8},
    "vgg11": {},
    "resnet18": {"width": 0.25},
    "resnet18_wide4": {"width": 0.25},
    "mobilenet_v1": {},
    "mobilenet_v2": {},
}
"""Smaller where an argument makes them so; vgg16, resnet34 and the deeper residual networks are the same code."""


@pytest.fixture(scope="module", params=NETWORKS)
def stock(request):
    torch.manual_seed(0)
    args = NETWORKS[request.param]
    return surgeon.create_model(f"zoo/{request.param}", num_classes=5, model_args=args).eval()


def normed(model):
    return any(isinstance(m, torch.nn.modules.batchnorm._NormBase) for m in model.modules())


def depthwise(model):
    return any(isinstance(m, torch.nn.Conv2d) and m.groups > 1 for m in model.modules())


@pytest.mark.parametrize("method", ["kap", "wm", "anl", "defective"])
def test_every_network_survives_every_method(stock, method, tmp_path):
    name = stock.surgeon_origin["name"]
    recipe = {
        "kap": "kap",
        "wm": "wm-unsharp-all" if name == "zoo/shallow1" else "wm-unsharp",
        "anl": "anl" if normed(stock) else AFTER_CONV,
        "defective": "defective",
    }[method]
    size = input_size_of(stock) if name != "zoo/resnet18_wide4" else (3, 64, 64)
    cut = surgeon.apply(stock, recipe, input_size=size)
    assert cut.surgery.edits
    bad = [c for c in surgeon.verify(stock, cut) if c.ok is False]
    assert not bad
    x = torch.randn(2, *size)
    surgeon.save(cut, tmp_path / "cut")
    loaded = surgeon.load(tmp_path / "cut")
    with torch.no_grad():
        assert torch.equal(cut.eval()(x), loaded(x))
        if method == "kap" and depthwise(stock):
            with pytest.raises(FoldError, match="mixes its .* groups"):
                surgeon.fold(cut)
        elif method in ("kap", "anl"):
            folded = surgeon.fold(cut)
            assert type(folded) is type(stock) and folded.state_dict().keys() == stock.state_dict().keys()
            assert torch.allclose(folded.eval()(x), cut(x), atol=1e-4)
            surgeon.save(folded, tmp_path / "folded")
            assert torch.equal(surgeon.load(tmp_path / "folded")(x), folded(x))


def test_a_stock_network_is_rebuilt_from_its_name_and_arguments(stock, tmp_path):
    surgeon.save(stock, tmp_path / "stock")
    again = surgeon.load(tmp_path / "stock")
    assert type(again) is type(stock)
    for key in ("num_classes", "pretrained_cfg"):
        assert getattr(again, key) == getattr(stock, key)
    assert all(torch.equal(v, stock.state_dict()[k]) for k, v in again.state_dict().items())


def test_alexnet_is_rebuilt_from_its_name(tmp_path):
    stock = surgeon.create_model("zoo/alexnet", num_classes=5).eval()
    cut = surgeon.apply(stock, AFTER_CONV)
    assert len(cut.surgery.edits) == 5
    surgeon.save(cut, tmp_path / "alexnet")
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(surgeon.load(tmp_path / "alexnet")(x), stock(x))


def test_kernel_ensembles_widen_the_shallow_networks():
    stock = surgeon.create_model("zoo/shallow3")
    cut = surgeon.apply(stock, "kap-ensemble")
    convolutions = [m for m in cut.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [576] * 3
    assert surgeon.fold(cut).state_dict().keys() == stock.state_dict().keys()


def test_noise_stands_where_footnote_1_has_it():
    cut = surgeon.apply(surgeon.create_model("zoo/lenet5"), AFTER_CONV)
    assert [e.site for e in cut.surgery.edits] == ["conv1", "conv2"]


def test_defects_are_in_the_first_stages_of_the_residual_network():
    cut = surgeon.apply(surgeon.create_model("zoo/cifar_resnet20"), "defective")
    sites = [e.site for e in cut.surgery.edits]
    assert "bn1" in sites and "layer2.2.bn2" in sites and not [s for s in sites if s.startswith("layer3")]
