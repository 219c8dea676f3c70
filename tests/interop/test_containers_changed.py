"""Children that other code adds to a container after the cut: graphs are made anew, or an error says what works."""

import copy
import pickle

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError
from tests.interop.tiny import IMAGES, tiny_cut

ADDED = {
    "a longer head": lambda m: setattr(
        m, "classifier", nn.Sequential(nn.Dropout(0.2), nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 5))
    ),
    "a shorter head": lambda m: setattr(m, "classifier", nn.Sequential(nn.Linear(16, 5))),
    "a layer at the head's end": lambda m: m.classifier.append(nn.Softmax(1)),
    "a layer at the head's beginning": lambda m: m.classifier.insert(0, nn.LayerNorm(16)),
    "one module for the head": lambda m: setattr(m, "classifier", nn.Linear(16, 5)),
    "another block": lambda m: m.blocks.append(nn.Sequential(nn.Conv2d(16, 16, 3), nn.Softmax(1))),
    "a layer behind a stage": lambda m: m.features.append(nn.Tanh()),
    "a child with a name": lambda m: m.features.add_module("last", nn.Softmax(1)),
}


def by_its_own_code(model, x):
    """What the stock class's own forward gives on the rewritten network's modules, each layer called by a hook."""
    tree = copy.deepcopy(model).to_stock()
    for point in [p for p in model.points if p.site]:
        layer = tree.get_submodule(point.layer)
        tree.get_submodule(point.site).register_forward_hook(lambda m, i, o, layer=layer: layer(o))
    return tree(x)


@pytest.mark.parametrize("recipe", ["kap", "anl", "wm-unsharp", "defective"])
@pytest.mark.parametrize("added", ADDED)
def test_children_that_a_container_calls_are_called_after_the_cut_too(recipe, added):
    model = tiny_cut(recipe).double()
    x = IMAGES.double()
    before = model(x)
    torch.testing.assert_close(by_its_own_code(model, x), before)
    ADDED[added](model)
    model.double().eval()
    outputs = model(x)
    assert not torch.equal(outputs, before)
    torch.testing.assert_close(by_its_own_code(model, x), outputs)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(twin(x), outputs)
    if recipe in ("kap", "anl"):
        torch.testing.assert_close(surgeon.fold(model)(x), outputs)


def test_a_child_between_modules_is_called_where_no_layer_hangs_to_them():
    model = tiny_cut("wm-unsharp")
    outputs = model(IMAGES)
    layers = list(model.features)
    model.features = nn.Sequential(layers[0], nn.Identity(), *layers[1:])
    torch.testing.assert_close(model(IMAGES), outputs)


@pytest.mark.parametrize("recipe", ["kap", "anl", "defective"])
def test_a_child_between_the_sites_is_refused(recipe):
    model = tiny_cut(recipe)
    layers = list(model.features)
    model.features = nn.Sequential(layers[0], nn.Identity(), *layers[1:])
    with pytest.raises(SurgeryError, match=r"features\.\d.* stands.*before surgeon.apply"):
        model(IMAGES)


def test_a_child_that_no_code_calls_leaves_the_graphs_alone():
    model = tiny_cut("kap")
    outputs, graph = model(IMAGES), model.graph
    model.loss = nn.CrossEntropyLoss()
    assert torch.equal(model(IMAGES), outputs) and model.graph is graph


def test_what_cannot_be_traced_anew_names_the_container_and_the_order_and_works_again_without_it():
    class Branching(nn.Sequential):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    model = tiny_cut("kap")
    outputs, features = model(IMAGES), model.features
    model.features = Branching(*features)
    with pytest.raises(
        SurgeryError, match="features: Branching in place of Sequential.*change modules before surgeon.apply"
    ):
        model(IMAGES)
    model.features = features
    assert torch.equal(model(IMAGES), outputs)


def test_a_graph_that_was_edited_by_hand_is_not_thrown_away():
    model = tiny_cut("kap")
    model.recompile()
    model.classifier.append(nn.Softmax(1))
    with pytest.raises(SurgeryError, match=r"classifier: 2 \(Softmax\) is new.*edited by hand"):
        model(IMAGES)


def test_blocks_may_change_places_with_their_layers():
    model = tiny_cut("kap")
    twin = surgeon.revert(model)
    for one in (model, twin):
        one.blocks[0], one.blocks[1] = one.blocks[1], one.blocks[0]
    torch.testing.assert_close(surgeon.revert(model)(IMAGES), twin(IMAGES))
    model = tiny_cut("kap")
    model.blocks.insert(0, copy.deepcopy(twin.blocks[0]))
    with pytest.raises(
        SurgeryError, match=r"blocks\.0\.0, with .* stands at blocks\.1\.0 now.*before surgeon.apply"
    ):
        model(IMAGES)


RUNS = {
    "a call": lambda m, x: m(x),
    "compile": lambda m, x: torch.compile(m, backend="eager", fullgraph=True)(x),
    "export": lambda m, x: torch.export.export(m, (x,)).module()(x),
    "jit": lambda m, x: torch.jit.trace(m, x, check_trace=False)(x),
    "another trace": lambda m, x: torch.fx.symbolic_trace(m)(x),
    "fold": lambda m, x: surgeon.fold(m).eval()(x),
    "revert": lambda m, x: surgeon.revert(m).eval()(x),
    "pickle": lambda m, x: pickle.loads(pickle.dumps(m))(x),
}


@pytest.mark.parametrize("run", RUNS)
def test_whatever_runs_first_runs_the_longer_head(run):
    model = tiny_cut("anl")  # which in evaluation mode computes what the stock network does
    model.classifier = nn.Sequential(*model.classifier, nn.ReLU(), nn.Linear(4, 5)).eval()
    expected = by_its_own_code(copy.deepcopy(model), IMAGES)
    torch.testing.assert_close(RUNS[run](copy.copy(model), IMAGES), expected)
    fresh = tiny_cut("anl")
    fresh.classifier = model.classifier
    if run in ("compile", "jit"):  # in which no graph can be made
        advice = "records the network: call it once on images before that"
        with pytest.raises(Exception, match=r"classifier: .*2 \(ReLU\), 3 \(Linear\) are new") as refused:
            RUNS[run](fresh, IMAGES)
        assert advice in str(refused.value) and "before surgeon.apply" not in str(refused.value)
        fresh(IMAGES)
    torch.testing.assert_close(RUNS[run](fresh, IMAGES), expected)
