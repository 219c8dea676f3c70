"""The whole way on a GPU: cutting, training, evaluating, folders; against the same on a CPU. `make gpu` runs it."""

import copy

import pytest
import torch
from torch import nn

import surgeon
from surgeon.data import Images
from surgeon.evaluation import Attack, certify, evaluate
from surgeon.recipe import Training
from surgeon.training import adversarial_noise, fit, loop
from tests.conftest import Tiny

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU, which `make gpu` lets tests see"
)
SIZE = (3, 8, 8)
RECIPES = ("kap", "noise", "anl", "canl", "lat", "defective", "wm-unsharp", "wm-smoothing-all")


@pytest.fixture
def images():
    y = torch.randint(0, 5, (96,))
    x = torch.rand(96, *SIZE) * 0.3
    x[torch.arange(96), 0, y] += 0.7
    return Images(x, y)


def near(found, expected, within=1e-4):
    return (found.detach().cpu() - expected.detach().cpu()).norm() <= within * expected.detach().cpu().norm()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_cut_on_a_gpu_is_the_cut_on_a_cpu(tiny, recipe, tmp_path):
    x = torch.randn(6, *SIZE)
    here = surgeon.apply(tiny, recipe, input_size=SIZE, seed=1).eval()
    there = surgeon.apply(copy.deepcopy(tiny).cuda(), recipe, input_size=SIZE, seed=1).eval()
    assert {p.device.type for p in there.parameters()} == {"cuda"}
    assert near(there(x.cuda()), here(x))
    surgeon.save(there, tmp_path / "cut")
    back = surgeon.load(tmp_path / "cut", model=tiny, device="cuda")
    assert torch.equal(back(x.cuda()), there(x.cuda()))
    assert torch.equal(
        surgeon.load(tmp_path / "cut", model=tiny, mapped=True, device="cuda")(x.cuda()), there(x.cuda())
    )
    if recipe == "kap":
        assert near(surgeon.fold(there)(x.cuda()), there(x.cuda()))


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_it_learns_and_the_model_comes_home(tiny, images, recipe, precision):
    model = surgeon.apply(tiny, recipe, input_size=SIZE)
    settings = Training(epochs=8, batch_size=32, lr=0.02 if "wm" in recipe else 0.1)
    for _ in range(2):  # the second training finds what the first one left
        rows = fit(model, images, images, settings, mixed_precision=precision, device="cuda")
        assert {p.device.type for p in model.parameters()} == {"cpu"}
    fresh, once = surgeon.apply(tiny, recipe, input_size=SIZE), settings.model_copy(update={"epochs": 1})
    assert rows[-1].loss < 0.95 * fit(fresh, images, None, once)[0].loss


def test_the_first_steps_are_those_of_a_cpu(images):
    losses = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        tiny = Tiny(drop=0)  # whose numbers a GPU draws otherwise
        model = surgeon.apply(tiny, "anl", input_size=SIZE, seed=3)
        settings = Training(epochs=1, batch_size=32, lr=0.01, noise_share=1.0)
        losses.append(fit(model, images, None, settings, seed=4, device=device)[0].loss)
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_stopped_training_ends_as_one_that_was_not(tiny, images, recipe, tmp_path, monkeypatch):
    """Bit for bit, where torch's operations are deterministic."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    settings = Training(epochs=3, batch_size=32, lr=0.02, noise_share=1.0)

    def network():
        return surgeon.apply(tiny, recipe, input_size=SIZE, seed=2)

    whole = network()
    fit(whole, images, images, settings, folder=tmp_path / "whole", seed=5, device="cuda")
    calls, step = iter(range(100)), loop._Training._step

    def stops(self, *arguments):
        if next(calls) == 4:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(loop._Training, "_step", stops)
    with pytest.raises(KeyboardInterrupt):
        fit(
            network(),
            images,
            images,
            settings,
            folder=tmp_path / "stopped",
            seed=5,
            save_every=0,
            device="cuda",
        )
    monkeypatch.setattr(loop._Training, "_step", step)
    again = network()
    fit(again, images, images, settings, folder=tmp_path / "stopped", seed=5, device="cuda")
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in whole.state_dict().items())


@pytest.mark.parametrize("recipe", ["anl", "canl"])
def test_a_step_in_ones_own_loop(tiny, images, recipe):
    model = surgeon.apply(tiny, recipe, input_size=SIZE).cuda().train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = images.x.cuda(), images.y.cuda()
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        with (
            torch.autocast("cuda", torch.bfloat16),
            adversarial_noise(model, x, y, nn.functional.cross_entropy),
        ):
            loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.85 * losses[0]


def test_verdicts_on_a_gpu(tiny, images):
    pytest.importorskip("torchattacks")
    fit(tiny, images, None, Training(epochs=8, batch_size=32, lr=0.1), device="cuda")
    attacks = [Attack(name=k, kind=k, eps=0.05, steps=20) for k in ("pgd", "apgd", "apgdt", "fab", "square")]
    stands = []
    for device in ("cpu", "cuda"):
        model = tiny.to(device).eval()
        outcome = evaluate(model, images.x, images.y, attacks, batch_size=17)
        stands.append(
            {a.name: sum(not v.success for v in outcome.verdicts if v.attack == a.name) for a in attacks}
        )
        assert {p.device.type for p in model.parameters()} == {device}
    assert all(abs(stands[0][k] - stands[1][k]) <= 3 for k in stands[0])


def test_certificates_on_a_gpu(tiny, images):
    pytest.importorskip("scipy")

    def found(device, batch_size):
        return certify(
            tiny.to(device).eval(), images.x[:4], images.y[:4], sigma=0.1, n=2000, batch_size=batch_size
        )

    here, there = found("cpu", 512), found("cuda", 512)
    assert all(abs(a.count - b.count) < 200 for a, b in zip(here, there, strict=True))
    assert [c.count for c in found("cuda", 300)] == [c.count for c in there]


@pytest.mark.parametrize("recipe", ["kap", "defective", "wm-unsharp"])
def test_compiled_it_is_the_same(tiny, recipe):
    model = surgeon.apply(tiny, recipe, input_size=SIZE, seed=1).cuda().eval()
    x = torch.randn(6, *SIZE, device="cuda")
    assert near(torch.compile(model)(x), model(x))
