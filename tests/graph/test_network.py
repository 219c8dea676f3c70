"""The rewritten network as a module: copies, methods, guards, in-place consumers."""

import copy
import gc
import inspect
import linecache
import pickle

import pytest
import timm
import torch
from torch import fx, nn

import surgeon
from surgeon.errors import SurgeryError
from surgeon.graph.rewritten.compiled import compiled

KAP = {"op": "kap"}


@pytest.fixture(scope="module")
def stock():
    torch.manual_seed(0)
    return timm.create_model("resnet18", num_classes=6).eval()


@pytest.fixture
def cut(stock):
    return surgeon.apply(stock, KAP, input_size=(3, 64, 64)).eval()


@pytest.fixture(scope="module")
def x():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_it_is_a_graph_module_whose_nodes_show_the_layers(cut):
    assert isinstance(cut, fx.GraphModule)
    targets = [n.target for n in cut.graph.nodes if n.op == "call_module"]
    assert targets[:3] == ["conv1", "conv1.kap", "bn1"]
    assert "self.conv1.kap" in cut.code
    assert list(inspect.signature(cut.forward).parameters) == ["x"]


def test_graph_follows_the_mode_and_may_be_edited(cut, x):
    assert cut.eval().graph is not cut.train().graph
    cut.eval()
    out = next(n for n in cut.graph.nodes if n.op == "output")
    before = cut(x)
    with cut.graph.inserting_before(out):
        doubled = cut.graph.call_function(torch.mul, (out.args[0], 2))
    out.args = (doubled,)
    cut.recompile()
    assert torch.equal(cut(x), 2 * before)
    assert torch.equal(copy.deepcopy(cut)(x), 2 * before)


def test_a_copy_runs_the_same_source_and_that_of_another_network_goes_with_it(cut, x):
    def names():
        return {name for name in linecache.cache if name.startswith("<graph ")}

    def kept():
        gc.collect()
        compiled(torch.fx.symbolic_trace(torch.nn.ReLU()).graph)  # which clears what others left
        return len(names())

    before = kept()
    twin = copy.deepcopy(cut)
    twin(x)
    assert kept() == before
    read = pickle.loads(pickle.dumps(cut))
    read(x)
    assert kept() == before + 2  # tracebacks show it
    loop = names()
    del twin, read
    gc.collect()
    assert loop <= names(), (
        "a loop over the lines, such as that of linecache.checkcache, would end in a KeyError"
    )
    assert kept() == before


@pytest.mark.parametrize("way", [copy.deepcopy, copy.copy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_equal_and_keep_the_record(cut, x, way):
    twin = way(cut)
    assert torch.equal(twin(x), cut(x))
    assert twin.surgery == cut.surgery
    before = cut(x)
    twin.conv1.kap.set_alpha(0.5)
    assert not torch.equal(twin(x), before)
    shared = way is copy.copy  # a shallow copy has the same tensors, and so the same share
    assert torch.equal(twin(x), cut(x)) == shared
    twin.train()
    assert not cut.training


def test_a_deep_network_pickles():
    model = surgeon.apply(
        timm.create_model("densenet201", num_classes=3), {"op": "noise"}, input_size=(3, 64, 64)
    )
    twin = pickle.loads(pickle.dumps(model.eval()))
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(twin(x), model(x))


def test_methods_of_timm_run_with_the_surgery_in_effect(cut, x):
    features = cut.forward_features(x)
    assert torch.equal(cut.forward_head(features), cut(x))
    assert torch.equal(cut.get_classifier()(cut.forward_head(features, pre_logits=True)), cut(x))
    stock_features = surgeon.revert(cut).forward_features(x)
    assert not torch.allclose(features, stock_features)


def test_attributes_of_timm_are_there(cut, stock):
    for name in ("num_classes", "pretrained_cfg", "default_cfg", "feature_info", "num_features"):
        assert getattr(cut, name) == getattr(stock, name)
    assert cut.get_classifier() is cut.fc
    assert cut.group_matcher() == stock.group_matcher()
    convnext = surgeon.apply(timm.create_model("convnext_atto"), KAP, input_size=(3, 64, 64))
    assert (
        convnext.no_weight_decay() if hasattr(timm.create_model("convnext_atto"), "no_weight_decay") else True
    )


def test_reset_classifier_keeps_the_surgery(cut, x):
    body = cut.forward_features(x)
    cut.reset_classifier(11)
    assert cut.num_classes == 11 and cut(x).shape == (2, 11)
    assert torch.equal(cut.forward_features(x), body)
    cut.reset_classifier(0)
    assert cut(x).shape == (2, 512)


def test_other_methods_are_refused_and_not_run(cut):
    with pytest.raises(
        SurgeryError, match=r"ResNet.prune_intermediate_layers runs code from before the surgery"
    ):
        cut.prune_intermediate_layers(2)
    with pytest.raises(SurgeryError, match="init_weights"):
        cut.init_weights()
    assert not hasattr(cut, "no_such_method")


def test_a_container_called_by_itself_is_refused(cut, x):
    with pytest.raises(SurgeryError, match=r"layer1 was called by itself"):
        cut.layer1(cut.maxpool(cut.act1(cut.bn1(cut.conv1(x)))))
    assert surgeon.revert(cut).layer1(torch.randn(1, 64, 8, 8)).shape == (1, 64, 8, 8)


def test_hooks_on_layers_fire(cut, x):
    seen = []
    cut.layer4[1].conv2.register_forward_hook(lambda *a: seen.append("conv"))
    cut.layer4[1].conv2.kap.register_forward_hook(lambda *a: seen.append("kap"))
    cut(x)
    assert seen == ["conv", "kap"]


def test_a_replaced_classifier_is_used(cut, x):
    cut.fc = nn.Linear(512, 2)
    assert cut(x).shape == (2, 2)


def test_a_stock_checkpoint_loads_after_surgery_as_before(stock):
    cut = surgeon.apply(stock, [KAP, {"op": "adversarial-noise"}], input_size=(3, 64, 64))
    other = timm.create_model("resnet18", num_classes=6)
    result = cut.load_state_dict(other.state_dict())
    assert not result.missing_keys and not result.unexpected_keys
    assert torch.equal(cut.layer3[0].conv1.weight, other.layer3[0].conv1.weight)
    names = dict(cut.named_parameters())
    assert list(names) == [n for n, _ in stock.named_parameters()]


def test_in_place_consumers_leave_the_inserted_layers_alone():
    model = timm.create_model("resnet18", num_classes=4)
    assert model.act1.inplace
    cut = surgeon.apply(
        model, {"op": "adversarial-noise", "source": "gaussian"}, input_size=(3, 64, 64)
    ).train()
    kept = []
    cut.bn1.gaussian.register_forward_hook(lambda m, i, o: kept.append((o, o.detach().clone())))
    cut(torch.randn(2, 3, 64, 64))
    ((output, then),) = kept
    assert torch.equal(output.detach(), then)
    assert model.act1.inplace and surgeon.revert(cut).act1.inplace


def test_in_place_methods_and_operators_are_made_safe(tiny, images):
    cut = surgeon.apply(tiny, {"op": "defective", "after": "norm"}, input_size=(3, 8, 8)).train()
    kept = []
    cut.bn2.mask.register_forward_hook(lambda m, i, o: kept.append((o, o.detach().clone())))
    cut(images).sum().backward()
    assert torch.equal(kept[0][0].detach(), kept[0][1])


def test_the_namespaces_of_two_networks_do_not_mix(stock, x):
    one = surgeon.apply(stock, KAP, input_size=(3, 64, 64)).eval()
    two = surgeon.apply(stock, {"op": "noise"}, input_size=(3, 64, 64)).eval()
    assert not torch.equal(one(x), two(x))
    assert torch.equal(two(x), stock(x))


class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3))
        self.head = nn.Linear(16, 4)
        self.scale = 1.0

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3))) * self.scale


def test_what_the_documents_say_of_children_and_attributes(x):
    """docs/models.md, "What the graphs hold after the cut"."""
    torch.manual_seed(0)
    model = Chain().eval()
    cut = surgeon.apply(model, KAP, input_size=(3, 64, 64)).eval()
    with pytest.raises(SurgeryError, match="features was called by itself"):
        cut.features(x)
    assert torch.equal(cut.features[:2](x), model.features[:2](x))
    before = cut(x)
    cut.scale = 2.0
    assert torch.equal(cut(x), 2 * before)
    cut.features[0].padding = (0, 0)
    assert not torch.equal(cut(x), before)
