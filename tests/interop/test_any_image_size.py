"""A layer that takes images of any size keeps sizes free where it is exported, compiled or traced with one size."""

import pytest
import torch
from torch import nn
from torch.export import Dim, export

import surgeon
from surgeon.methods.blur_pool import Blur
from surgeon.methods.kap import KernelAveragePool, PreNormKernelAveragePool, WeightedKernelPool
from surgeon.methods.kwta.module import KWinners
from surgeon.methods.mean_sparse.module import MeanSparsification
from surgeon.methods.parametric_noise.module import NoisyOutputs
from surgeon.methods.smooth_activation.module import SmoothReLU
from surgeon.methods.squeeze_excite.module import SqueezeExcite

LAYERS = {
    "kap": lambda: KernelAveragePool(16),
    "kap in an order": lambda: KernelAveragePool(16, order=torch.arange(15, -1, -1)),
    "kap by halves": lambda: KernelAveragePool(16, alpha=0.5),
    "kap on a line": lambda: KernelAveragePool(16, dims=1),
    "kap of one image": lambda: KernelAveragePool(16, spatial_dims=2),
    "even kap": lambda: KernelAveragePool(16, 2, even=True),
    "strided kap": lambda: KernelAveragePool(16, 3, 3),
    "kap behind a norm": lambda: PreNormKernelAveragePool(KernelAveragePool(16), 16),
    "kmp": lambda: KernelAveragePool(16, pool="max"),
    "gaussian kap": lambda: WeightedKernelPool(16, 3, kernel="gaussian"),
    "kwta": lambda: KWinners(0.1),
    "kwta of all": lambda: KWinners(1.0),
    "blur": lambda: Blur([3, 3], [2, 2]),
    "blur beyond a step": lambda: Blur([3, 3], [2, 2], mode="replicate", ceil=[1, 1]),
    "blur within a margin": lambda: Blur([3, 3], [4, 4], mode="replicate", ceil=[2, 1]),
    "squeeze-excite": lambda: SqueezeExcite(16, 4),
    "meansparse": lambda: MeanSparsification(16, alpha=0.3),
    "smooth-activation": lambda: SmoothReLU("silu"),
}
OTHERS = ((5, 16, 12, 17), (3, 16, 9, 7), (1, 16, 30, 6))
FREE = dict.fromkeys((0, 2, 3), Dim.DYNAMIC)


def alike(recorded, layer):
    for size in OTHERS:
        x = torch.randn(size)
        assert torch.allclose(recorded(x), layer(x), rtol=1e-5, atol=1e-6), size


@pytest.mark.parametrize("first", [(2, 16, 8, 10), (2, 16, 9, 7)], ids=["even", "odd"])
@pytest.mark.parametrize("name", LAYERS)
def test_an_exported_layer_takes_images_and_batches_of_other_sizes(name, first):
    layer = LAYERS[name]().eval()
    alike(export(layer, (torch.randn(first),), dynamic_shapes=(FREE,)).module(), layer)


@pytest.mark.parametrize("name", ["kap", "kmp", "kwta"])
def test_few_positions_at_the_export_say_nothing_of_later_images(name):
    layer = LAYERS[name]().eval()
    alike(export(layer, (torch.randn(2, 16, 2, 2),), dynamic_shapes=(FREE,)).module(), layer)


@pytest.mark.parametrize("name", LAYERS)
def test_a_traced_layer_takes_images_and_batches_of_other_sizes(name):
    layer = LAYERS[name]().eval()
    alike(torch.jit.trace(layer, torch.randn(2, 16, 8, 10), check_trace=False), layer)


@pytest.mark.parametrize("name", ["kap", "kmp", "kap in an order", "kwta"])
def test_a_layer_compiled_for_any_size_is_one_graph_for_all(name):
    layer = LAYERS[name]().eval()
    torch._dynamo.reset()
    made = []

    def backend(graph, inputs):
        made.append(graph)
        return graph

    compiled = torch.compile(layer, dynamic=True, fullgraph=True, backend=backend)
    for size in ((2, 16, 8, 10), *OTHERS[:2]):
        x = torch.randn(size)
        assert torch.allclose(compiled(x), layer(x), rtol=1e-5, atol=1e-6)
    assert len(made) == 1


def test_noise_is_exported_for_any_size():
    layer = NoisyOutputs(0.5)
    made = export(layer, (torch.randn(2, 16, 8, 10),), dynamic_shapes=(FREE,)).module()
    x = torch.randn(OTHERS[0])
    assert made(x).shape == x.shape and not torch.equal(made(x), x)


@pytest.mark.parametrize("recipe", ["kap", "kmp", "kwta"])
def test_a_cut_network_exports_with_free_sizes(recipe):
    stock = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)
    )
    model = surgeon.apply(stock, recipe, input_size=(3, 16, 16)).eval()
    made = export(model, (torch.randn(2, 3, 16, 16),), dynamic_shapes=(FREE,)).module()
    x = torch.randn(4, 3, 23, 34)
    torch.testing.assert_close(made(x), model(x))


@pytest.mark.parametrize("margin", range(6))
@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_blur_takes_one_step_more_where_the_gap_is_within_the_margin(step, margin):
    for side in range(1, 14):
        last = side - 1
        reach = -(-last // step) * step
        wanted = reach - last if last < reach < last + 1 + margin else 0
        layer = Blur([1], [step], mode="replicate", ceil=[margin])
        assert layer._beyond(torch.zeros(1, 1, side)) == [wanted]
