"""Rewritten networks under other tracers of torch.fx: layers stay whole, and the outputs are the network's."""

import math

import pytest
import torch
from torch.fx.experimental.optimization import fuse, remove_dropout

from tests.interop.conftest import SIZE
from tests.neutral import EVERYWHERE, NEUTRAL, neutral

pytestmark = pytest.mark.filterwarnings("ignore:NOTE")
EVERY = (
    "kap",
    "kmp",
    "kap-ensemble",
    "anl",
    "canl",
    "gaussian",
    "lat",
    "noise",
    "defective",
    "defective-same",
    "defective-channel",
    "wm-unsharp",
    "wm-smoothing",
    "wm-input-scale",
    "input-noise",
)


def torchvisions(model):
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    assert get_graph_node_names(model)[0][-1] == "fc"
    found = create_feature_extractor(model, ["layer2.0.act1", "fc"]).eval()
    return lambda x: found(x)["fc"]


def timms(model):
    from timm.models._features_fx import create_feature_extractor

    found = create_feature_extractor(model, ["fc"]).eval()
    return lambda x: found(x)["fc"]


TRACERS = {
    "symbolic_trace": torch.fx.symbolic_trace,
    "torchvision": torchvisions,
    "timm": timms,
    "fuse": fuse,
    "remove_dropout": remove_dropout,
}


@pytest.mark.parametrize("recipe", EVERY)
def test_the_outputs_are_the_networks(cut, batch, recipe):
    model = cut(recipe)
    outputs = model(batch[0])
    for name, traced in TRACERS.items():
        torch.testing.assert_close(traced(model)(batch[0]), outputs, rtol=1e-4, atol=1e-5, msg=name)
        assert not model.training


@pytest.mark.parametrize("recipe", ["gaussian", "noise"])
def test_layers_in_a_graph_of_others_go_by_their_mode(cut, batch, recipe):
    traced = torch.fx.symbolic_trace(cut(recipe))
    layers = [
        n.target for n in traced.graph.nodes if n.op == "call_module" and str(n.target).endswith(recipe)
    ]
    assert torch.equal(traced(batch[0]), traced(batch[0]))
    for layer in layers or [
        n for n, m in traced.named_modules() if type(m).__name__ in ("GaussianNoise", "GaussianControl")
    ]:
        traced.get_submodule(layer).train()
    assert not torch.equal(traced(batch[0]), traced(batch[0]))


def test_an_export_names_the_class_that_stands_at_the_site_now(cut, batch):
    # by it quantisers find convolutions, and a weight map is none
    program = torch.export.export(cut("wm-unsharp"), (batch[0],))
    kinds = {kind for n in program.graph.nodes for _, kind in n.meta.get("nn_module_stack", {}).values()}
    assert any(str(k).endswith("WeightMap2d") for k in kinds)
    maps = [e.site for e in cut("wm-unsharp").surgery.edits if e.replaces]
    stacks = [v for n in program.graph.nodes for v in n.meta.get("nn_module_stack", {}).values()]
    assert not [path for path, kind in stacks if path in maps and str(kind).endswith("Conv2d")]


def _features(model, node):
    from torchvision.models.feature_extraction import create_feature_extractor

    return create_feature_extractor(model, {node: "f"}).eval()


@pytest.mark.parametrize("method", EVERYWHERE)
@pytest.mark.parametrize("name", ["test_convnext", "test_resnet"])
def test_a_block_means_to_a_feature_extractor_what_it_means_in_the_stock_network(name, method):
    import timm

    torch.manual_seed(0)
    stock = timm.create_model(name, num_classes=4).eval()
    for parameter in stock.parameters():  # so that a block's sum is not its shortcut
        torch.nn.init.normal_(parameter, std=0.3)
    images = torch.randn(2, 3, 32, 32)
    cut = neutral(stock, method, (3, 32, 32))
    blocks = (
        ("stages.0", "stages.1.blocks.0", "stages") if name == "test_convnext" else ("layer1.0.add", "layer2")
    )
    for block in blocks:
        torch.testing.assert_close(
            _features(cut, block)(images)["f"], _features(stock, block)(images)["f"], msg=block
        )


@pytest.mark.parametrize("method", NEUTRAL)
def test_a_block_of_a_rewritten_part_means_to_a_feature_extractor_what_it_means_in_the_stock_network(
    stock, batch, method
):
    class Within(torch.nn.Module):
        def __init__(self, part):
            super().__init__()
            self.part = part

        def forward(self, x):
            return self.part(x + 1)

    found = [
        _features(Within(m), "part.layer1.0.add")(batch[0])["f"]
        for m in (neutral(stock, method, SIZE), stock)
    ]
    torch.testing.assert_close(*found)


@torch.fx.wrap
def doubled_where_many(x, factor):
    """Code that no tracer can follow, and that is told not to."""
    return x * factor if x.shape[0] > 2 else x


class Wrapping(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(3, 16, 3), torch.nn.Conv2d(16, 16, 1)
        self.fc = torch.nn.Linear(16, 4)

    def forward(self, x):
        x = doubled_where_many(self.conv1(x), factor=math.sqrt(x.shape[1]))
        return self.fc(self.conv2(x).mean((2, 3)))


@pytest.mark.parametrize("method", NEUTRAL)
@pytest.mark.parametrize("count", [2, 4])
def test_functions_that_tracers_do_not_go_into_are_one_call_in_a_graph_of_others_too(method, count, batch):
    torch.manual_seed(0)
    stock, images = Wrapping().eval(), batch[0][:count]
    cut = neutral(stock, method, SIZE)
    for node in ("doubled_where_many", "fc"):
        found = [_features(m, node)(images)["f"] for m in (cut, stock)]
        torch.testing.assert_close(*found)


@pytest.mark.parametrize("method", EVERYWHERE)
def test_a_vision_transformer_gives_its_blocks_to_both_extractors(method):
    import timm
    from timm.models._features_fx import create_feature_extractor

    torch.manual_seed(0)
    stock = timm.create_model("test_vit", num_classes=4).eval()
    cut, images = neutral(stock, method, (3, 160, 160)), torch.randn(1, 3, 160, 160)
    wanted = create_feature_extractor(stock, {"blocks.1": "f"})(images)["f"]
    torch.testing.assert_close(create_feature_extractor(cut, {"blocks.1": "f"})(images)["f"], wanted)
