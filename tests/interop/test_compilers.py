"""torch.compile, torch.export and TorchScript."""

import pytest
import torch
from torch.nn.functional import avg_pool2d, cross_entropy

import surgeon
from surgeon.errors import LayerError, SurgeryError
from tests.interop.conftest import RECIPES, SIZE


@pytest.mark.parametrize(
    "recipe", ["kap", "anl", "wm-unsharp", "defective", "noise", "gaussian", "wm-input-scale"]
)
def test_compile_in_one_graph_in_both_modes(tiny_cut, images, recipe):
    model = tiny_cut(recipe)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        assert torch.allclose(compiled(images), model(images), atol=1e-4)
    model.train()
    cross_entropy(compiled(images), torch.arange(4)).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_compile_pools_weights_and_export_does_not(tiny_cut, images):
    pooled = []

    def look(graph, _):
        pooled.extend(n.meta["example_value"].shape[0] for n in graph.graph.nodes if n.target is avg_pool2d)
        return graph.forward

    model = tiny_cut("kap").eval()
    torch._dynamo.reset()
    torch.compile(model, backend=look)(images)
    assert set(pooled) == {1}  # the weights of one network, not activations of each image
    exported = torch.export.export(model, (images,)).graph.nodes
    sizes = {n.meta["val"].shape[0] for n in exported if "avg_pool2d" in str(n.target)}
    assert sizes == {len(images)}


@pytest.mark.parametrize("recipe", RECIPES)
def test_export_for_any_number_of_images(tiny_cut, images, recipe):
    model = tiny_cut(recipe)
    dynamic = ({0: torch.export.Dim("batch", min=1)},)
    exported = torch.export.export(model, (images,), dynamic_shapes=dynamic)
    for count in (1, 3):
        assert torch.allclose(exported.module()(images[:count]), model(images[:count]), atol=1e-4)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit")
def test_torchscript_traces(model, batch, tmp_path):
    x, _ = batch
    with torch.no_grad():
        torch.jit.trace(model, x[:2]).save(tmp_path / "model.pt")
        traced = torch.jit.load(tmp_path / "model.pt")
        for count in (1, 5):
            assert torch.allclose(traced(x[:count]), model(x[:count]), atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("recipe", ["kap", "anl"])
def test_torchscript_compiles_what_was_folded(cut, batch, recipe):
    x, _ = batch
    folded = surgeon.fold(cut(recipe))
    assert torch.allclose(torch.jit.script(folded)(x), folded(x), atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_torchscript_does_not_compile_what_was_not_folded(model):
    with pytest.raises(
        SurgeryError, match=r"cannot compile a rewritten ResNet; use torch.jit.trace .* surgeon.fold"
    ):
        torch.jit.script(model)


def test_a_graph_for_one_size_says_so(batch):
    """The maps of WM have a weight for each pixel."""
    model = surgeon.apply(surgeon.create_model("test_resnet", num_classes=4), "wm-unsharp", input_size=SIZE)
    with pytest.raises(LayerError, match="this weight map is"):
        torch.export.export(model.eval(), (torch.randn(2, 3, 64, 64),))
