"""The noise of the Adversarial Noise Layer: magnitudes (eq. 2) and eta (eq. 4)."""

import itertools

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import LayerError, SelectionError
from surgeon.methods.adversarial_noise.maths import deviation, draw_magnitude, noise_along
from tests.reference import adversarial_noise as reference


@pytest.mark.parametrize("epsilon", [0.03, 0.5, -0.03])
def test_magnitudes_are_the_clipped_normal(epsilon):
    r = draw_magnitude(200_000, epsilon, torch.Generator().manual_seed(0), dtype=torch.float64)
    share = r / epsilon  # clip(N(1/2, 1/16), 0, 1) whatever the sign
    assert r.shape == (200_000,) and share.min() == 0 and share.max() == 1
    tail = 0.5 * (1 - torch.erf(torch.tensor(2 / 2**0.5))).item()  # P(N(0, 1) > 2), clipped on each side
    for end in (0, 1):
        assert abs((share == end).double().mean() - tail) < 0.002
    assert abs(share.mean() - 0.5) < 0.002
    assert abs((share < 0.25).double().mean() - 0.1587) < 0.004
    assert abs(share[(share > 0) & (share < 1)].std() - 0.25 * 0.8796) < 0.002  # a normal cut at two sigma


def test_magnitudes_repeat_mirror_and_take_a_dtype():
    def draw(epsilon, **kwargs):
        return draw_magnitude(5, epsilon, torch.Generator().manual_seed(1), **kwargs)

    assert torch.equal(draw(0.1), draw(0.1))
    assert draw(-0.1).max() <= 0 and not draw(0.0).any()
    assert draw(0.1, dtype=torch.float64).dtype == torch.float64
    assert draw(0.1, device="meta").device.type == "meta"
    assert draw_magnitude(0, 0.1).shape == (0,)


@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 3, 4, 4), (0, 3, 2, 2), (1, 1, 1, 1)])
def test_eta_equals_the_loops(shape):
    gradient = torch.randn(shape, dtype=torch.float64)
    if shape[0] > 1:
        gradient[1] = 0
    r = torch.rand(shape[0], dtype=torch.float64) - 0.5
    eta = noise_along(gradient, torch.tensor(1.7, dtype=torch.float64), r)
    torch.testing.assert_close(eta, reference.eta(gradient, 1.7, r), rtol=0, atol=1e-12)


def test_eta_by_hand():
    gradient = torch.tensor([[1.0, -4.0, 2.0], [0.0, 0.0, 0.0], [0.0, 0.5, 0.0]])
    eta = noise_along(gradient, 2.0, torch.tensor([0.1, 0.1, -0.3]))
    assert torch.allclose(eta, torch.tensor([[0.05, -0.2, 0.1], [0, 0, 0], [0, -0.6, 0]]))
    assert torch.allclose(noise_along(gradient, 2.0, 0.1)[0], eta[0])
    assert torch.allclose(noise_along(gradient, 2.0, torch.tensor([0.1]))[2], torch.tensor([0, 0.2, 0]))


def test_eta_is_the_multiple_of_g_that_raises_the_loss_most_within_the_norm():
    gradient, r, std = torch.randn(4, 6, dtype=torch.float64), 0.2, 1.5
    eta = noise_along(gradient, std, r)
    torch.testing.assert_close(eta.abs().amax(1), torch.full((4,), r * std, dtype=torch.float64))
    gain = (gradient * eta).sum(1)
    for scale in torch.linspace(-20, 20, 4001, dtype=torch.float64):
        rival = scale * gradient
        allowed = rival.abs().amax(1) <= r * std
        assert ((gradient * rival).sum(1)[allowed] <= gain[allowed] + 1e-12).all()
    lowered = noise_along(gradient, std, -r)
    assert ((gradient * lowered).sum(1) < 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_gradient_that_overflowed_gives_no_noise(bad):
    gradient = torch.randn(3, 4)
    gradient[1, 2] = bad
    eta = noise_along(gradient, 1.0, 0.1)
    assert eta.isfinite().all() and not eta[1].any() and eta[0].any() and eta[2].any()


@pytest.mark.parametrize(
    ("dtype", "size"), list(itertools.product([torch.float16, torch.bfloat16], [1e-7, 1.0, 6e4]))
)
def test_half_precision_neither_underflows_nor_overflows(dtype, size):
    gradient = (torch.rand(2, 3, 4, 4) * size).to(dtype)
    eta = noise_along(gradient, torch.tensor(1.5), torch.tensor([0.5, 0.25]))
    assert eta.dtype == dtype
    torch.testing.assert_close(eta.double(), reference.eta(gradient, 1.5, [0.5, 0.25]), rtol=1e-2, atol=1e-3)


def test_eta_passes_gradients_to_its_factors():
    gradient = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    r = torch.rand(2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g, r: noise_along(g, 1.3, r), (gradient, r))


@pytest.mark.parametrize("epsilon", [float("nan"), float("inf")])
def test_errors_say_what_is_wrong(epsilon):
    with pytest.raises(LayerError, match=f"epsilon={epsilon} must be finite; the paper uses 0.01 to 0.05"):
        draw_magnitude(3, epsilon)


@pytest.mark.parametrize("offset", [0.0, 0.5, 1e4])
def test_the_deviation_is_torchs_also_where_the_mean_dwarfs_it(offset):
    h = torch.randn(8, 16, 9, 9) * 0.7 + offset
    wanted = h.double().std(correction=0)
    torch.testing.assert_close(deviation(h).double(), wanted, rtol=1e-4, atol=0)
    torch.testing.assert_close(deviation(h.double()), h.double().std(correction=0), rtol=1e-9, atol=0)


def test_a_gradient_too_small_to_divide_by_gives_no_noise():
    gradient = torch.tensor([[1e-42, -1e-43], [1e-30, -1e-30]])
    eta = noise_along(gradient, 1e6, 0.5)
    assert eta.isfinite().all() and not eta[0].any()
    torch.testing.assert_close(eta[1], torch.tensor([5e5, -5e5]))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_compiled_sums_go_along_memory(memory):
    h = (torch.randn(3, 4, 5, 6, dtype=torch.float64) + 1).contiguous(memory_format=memory)
    g = torch.randn_like(h)
    read = []

    def look(graph, _):
        read.extend(
            n.args[0].meta["example_value"].stride() for n in graph.graph.nodes if n.target in ("amax", "std")
        )
        return graph.forward

    torch._dynamo.reset()
    found = torch.compile(lambda h, g: noise_along(g, deviation(h), 0.5), backend=look)(h, g)
    assert torch.allclose(found, noise_along(g, deviation(h), 0.5), atol=1e-12)
    assert len(read) == 2 and all(sorted(s, reverse=True) == list(s) for s in read)


def test_compiles_under_vmap():
    h, g = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64), torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
    torch._dynamo.reset()
    many = torch.compile(torch.func.vmap(lambda h, g: noise_along(g, deviation(h), 0.5)), backend="aot_eager")
    each = torch.stack([noise_along(b, a.std(correction=0), 0.5) for a, b in zip(h, g, strict=True)])
    assert torch.allclose(many(h, g), each, atol=1e-12)


class LayerNorms(nn.Module):
    """A network of maps whose norms are layer norms, as ConvNeXt has them."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.GroupNorm(2, 6)
        self.fc1, self.ln, self.fc2 = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x):
        tokens = self.norm(self.conv(x)).relu().flatten(2).transpose(1, 2)
        return self.fc2(self.ln(self.fc1(tokens))).mean(1)


@pytest.mark.parametrize(
    ("norms", "sites"), [("any", ["norm", "ln"]), ("layer", ["ln"]), ("group", ["norm"])]
)
def test_norms_of_other_families_on_request(norms, sites):
    plan = surgeon.plan(LayerNorms(), "anl", input_size=(3, 8, 8), settings={"norms": norms})
    assert [e.site for e in plan.edits] == sites


def test_a_network_without_batch_norms_is_told_of_the_others():
    with pytest.raises(
        SelectionError, match=r"batch norms.*none \(1 × GroupNorm, 1 × LayerNorm\); set .*norms=any"
    ):
        surgeon.plan(LayerNorms(), "anl", input_size=(3, 8, 8))


def test_noise_behind_a_layer_norm_of_tokens_is_the_papers():
    model = surgeon.apply(LayerNorms(), "anl", input_size=(3, 8, 8), norms="layer")
    x = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(5) % 4
    seen = {}
    model.train()

    def note(_, args):
        seen[len(seen)] = args[0].detach().clone()  # a hook that returned it would cut off the gradient

    model.fc2.register_forward_pre_hook(note)
    with surgeon.training.adversarial_noise(model, x, y, nn.functional.cross_entropy):
        model(x)
    first, second = seen[0], seen[1]
    noise = (second - first).flatten(1)
    # eq. 4: the largest entry of each sample's noise is r times the activations' deviation, r within [0, 0.03].
    share = noise.abs().amax(1) / first.std()
    assert bool((share <= 0.03 * 1.01).all()) and bool((share > 0).any())
