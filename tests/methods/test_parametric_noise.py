"""Parametric noise: its equations and gradients, where it is drawn, and that it is there in evaluation too."""

import copy
import pickle

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import FoldError, LayerError, RecipeError, SelectionError
from surgeon.methods.parametric_noise import NoisyOutputs, noisy_weights, parametric_noise, spread
from surgeon.tensors.shard import Shard
from tests.conftest import Tiny
from tests.reference import parametric_noise as reference

SIZE = (3, 8, 8)
LAYERS = [
    (nn.Conv1d(4, 6, 3, 2, 1, groups=2), (4, 9)),
    (nn.Conv2d(4, 6, 3, padding="same", padding_mode="reflect"), (4, 7, 6)),
    (nn.Conv3d(4, 6, (1, 3, 3), dilation=2), (4, 3, 8, 8)),
    (nn.Linear(4, 6, bias=False), (5, 4)),
]


@pytest.fixture
def tiny():
    """As the fixture of all tests, of a class that pickle finds by its module's name."""
    model = Tiny()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(16, *SIZE))
    return model.eval()


def double(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_noise_and_its_gradients_are_the_papers():
    v, alpha, noise = (
        double(3, 7).requires_grad_(),
        torch.tensor(0.3, dtype=torch.float64, requires_grad=True),
        double(3, 7, seed=1),
    )
    found = parametric_noise(v, alpha, spread(v), noise)
    wanted, by_v, by_alpha = reference.noisy(v.flatten().tolist(), 0.3, noise.flatten().tolist())
    torch.testing.assert_close(found.flatten(), torch.tensor(wanted, dtype=torch.float64))
    weights = double(3, 7, seed=2)
    (found * weights).sum().backward()
    torch.testing.assert_close(v.grad, by_v * weights)
    torch.testing.assert_close(
        alpha.grad, (weights.flatten() * torch.tensor(by_alpha, dtype=torch.float64)).sum()
    )
    for row, sigma in zip(v.tolist(), spread(v, each=True).flatten().tolist(), strict=True):
        assert sigma == pytest.approx(reference.spread(row), rel=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda v: type(v).__name__)
def test_a_layer_computes_with_noisy_weights_in_both_modes(layer, shape, training):
    noisy, x = noisy_weights(layer.double(), 0.25).train(training), double(3, *shape)
    torch.manual_seed(5)
    found = noisy(x)
    torch.manual_seed(5)
    drawn = torch.empty(layer.weight.shape).normal_().double().flatten()
    stock = copy.deepcopy(layer)
    wanted, _, by_alpha = reference.noisy(layer.weight.flatten().tolist(), 0.25, drawn.tolist())
    with torch.no_grad():
        stock.weight.copy_(torch.tensor(wanted, dtype=torch.float64).view_as(layer.weight))
    torch.testing.assert_close(found, stock(x))
    found.square().sum().backward()
    stock(x).square().sum().backward()
    torch.testing.assert_close(noisy.weight.grad, stock.weight.grad)
    torch.testing.assert_close(
        noisy.alpha.grad, (stock.weight.grad.flatten() * torch.tensor(by_alpha, dtype=torch.float64)).sum()
    )
    assert not torch.equal(noisy(x), found) and noisy.weight is not layer.weight
    torch.testing.assert_close(noisy.quiet()(x), layer(x))


def test_noise_on_weights_has_their_size():
    layer = noisy_weights(nn.Linear(400, 500), 0.5)
    off = torch.stack([layer.noisy().detach() - layer.weight.detach() for _ in range(4)])
    assert float(off.std() / (0.5 * layer.weight.std())) == pytest.approx(
        1, abs=0.01
    )  # a deviation is 0.0008
    assert abs(float(off.mean() / off.std())) < 0.01


def test_noise_on_outputs_is_in_units_of_each_image():
    layer, x = NoisyOutputs(0.5).double(), double(2, 3, 4, 5) * torch.tensor([1.0, 100.0]).view(2, 1, 1, 1)
    torch.manual_seed(5)
    found = layer(x)
    torch.manual_seed(5)
    noise = torch.empty(x.shape).normal_().double()
    for image, drawn, output in zip(x, noise, found, strict=True):
        wanted = reference.noisy(image.flatten().tolist(), 0.5, drawn.flatten().tolist())[0]
        torch.testing.assert_close(output.flatten(), torch.tensor(wanted, dtype=torch.float64))
    alone = copy.deepcopy(layer)
    layer.shard, layer.stream = Shard(1, 2), torch.Generator().manual_seed(5)
    torch.testing.assert_close(layer(x[1:]), found[1:])
    assert copy.deepcopy(layer).stream is None and alone.shard is None


def test_weights_are_the_same_on_all_processes():
    layer = noisy_weights(nn.Linear(3, 4), 0.25)
    layer.stream = torch.Generator().manual_seed(1)
    whole = layer.noisy()
    layer.stream, layer.shard = torch.Generator().manual_seed(1), Shard(2, 8)
    assert torch.equal(layer.noisy(), whole)


@pytest.fixture
def cut(tiny):
    return surgeon.apply(tiny, {"op": "parametric-noise"}, input_size=SIZE)


@pytest.mark.filterwarnings("ignore:Tiny is of own code")
def test_a_cut_network_is_random_says_so_and_does_not_fold(tiny, cut, images, tmp_path):
    assert {e.site for e in cut.surgery.edits} == {
        "conv1",
        "conv2",
        "head",
    } and cut.surgery.traits.stochastic == "always"
    cut.eval()
    assert not torch.equal(cut(images), cut(images))
    with pytest.raises(FoldError, match="drawn anew at each call"):
        surgeon.fold(cut)
    with torch.no_grad():
        cut.conv1.alpha.fill_(0.75)
    surgeon.save(cut, tmp_path / "cut")
    loaded = surgeon.load(tmp_path / "cut", model=copy.deepcopy(tiny)).eval()
    twins = (loaded, copy.deepcopy(cut), pickle.loads(pickle.dumps(cut)))
    outputs = []
    for twin in (cut, *twins):
        torch.manual_seed(2)
        outputs.append(twin(images))
        assert torch.equal(outputs[-1], outputs[0]) and float(twin.conv1.alpha) == 0.75
    assert torch.equal(surgeon.revert(cut)(images), tiny(images))


def test_without_noise_it_is_the_stock_network_which_also_loads(tiny, cut, images):
    silent = surgeon.apply(tiny, {"op": "parametric-noise", "alpha": 0.0}, input_size=SIZE).eval()
    torch.testing.assert_close(silent(images), tiny(images))
    result = cut.load_state_dict(tiny.state_dict())
    assert not result.missing_keys and float(cut.conv1.alpha) == 0.25


@pytest.mark.parametrize("on", ["weights", "outputs"])
def test_a_stock_checkpoint_does_not_fill_memory_that_nobody_wrote_to(tiny, images, on):
    cut = surgeon.apply(tiny, {"op": "parametric-noise", "on": on}, input_size=SIZE).to("meta")
    emptied = cut.to_empty(device="cpu").eval()
    with torch.no_grad():
        for parameter in emptied.parameters():
            parameter.data.fill_(7.0)  # as memory may hold anything; `data` counts as no write
    name = "conv1.alpha" if on == "weights" else "conv1.noise.alpha"
    assert name in emptied.load_state_dict(tiny.state_dict(), strict=False).missing_keys
    with pytest.raises(LayerError, match="alpha has no values since to_empty"):
        emptied(images)
    for module in emptied.modules():
        if hasattr(module, "alpha"):
            module.reset_parameters()
    assert all(float(m.alpha) == 0.25 for m in emptied.modules() if hasattr(m, "alpha"))
    emptied.load_state_dict(tiny.state_dict())
    assert bool(torch.isfinite(emptied(images)).all())


def test_alpha_is_trained(cut, images):
    cut.train()
    cut(images).square().sum().backward()
    assert all(float(cut.get_submodule(n).alpha.grad) != 0 for n in ("conv1", "conv2", "head"))


def test_timms_linear_layers_are_torchs():
    stock = surgeon.create_model("mobilenetv3_small_100", num_classes=5, input_size=(3, 32, 32)).eval()
    assert type(stock.classifier) is not nn.Linear
    cut = surgeon.apply(stock, {"op": "parametric-noise", "alpha": 0.0}, input_size=(3, 32, 32)).eval()
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(cut(x), stock(x))


def test_what_gets_no_noise(tiny, cut):
    plan = surgeon.plan(tiny, {"op": "parametric-noise", "on": "outputs"}, input_size=SIZE)
    assert {p.site: p.reason for p in plan.passed_over} == {"head": "its channels are the classes"}
    with pytest.raises(SelectionError, match="ConvTranspose2d is no convolution or linear layer of torch's"):
        surgeon.plan(nn.Sequential(nn.ConvTranspose2d(3, 3, 2)), "parametric-noise", input_size=SIZE)
    with pytest.raises(LayerError, match="ConvTranspose2d gets no noise"):
        noisy_weights(nn.ConvTranspose2d(3, 3, 2), 0.25)
    with pytest.raises(LayerError, match=r"got an input of shape \(4,\)"):
        NoisyOutputs(0.25)(torch.zeros(4))
    with pytest.raises(RecipeError, match="alpha"):
        surgeon.plan(tiny, "parametric-noise", input_size=SIZE, alpha=-1.0)


def test_each_sample_has_noise_of_its_own_under_vmap():
    torch.manual_seed(0)
    layer = noisy_weights(nn.Conv2d(3, 4, 3), 1.0)
    x = torch.randn(3, 5, 5).expand(2, 3, 5, 5)
    one, two = torch.vmap(lambda z: layer(z[None])[0], randomness="different")(x)
    assert not torch.allclose(one, two)
