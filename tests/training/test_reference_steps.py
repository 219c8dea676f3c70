"""Steps of AWP, MART and N-FGSM, each beside the paper's own algorithm written out slowly, in float64."""

import copy
from types import SimpleNamespace

import pytest
import torch
from pydantic import BaseModel
from torch import nn
from torch.nn.functional import cross_entropy

import surgeon
from surgeon.data import Images
from surgeon.errors import RecipeError
from surgeon.methods.adversarial_noise import NoiseLayer
from surgeon.recipe import Adversary, Training, WeightPerturbation, load_recipe
from surgeon.tensors.shard import Shard
from surgeon.training import adversarial_noise, fit
from surgeon.training.adversary import attacked
from surgeon.training.labels import Highest
from surgeon.training.objective import Objective, boosted, divergence
from surgeon.training.perturbation import perturbable, worst_offsets
from tests.sensitivity import doubled

pytest.importorskip("accelerate")
SIZE = (3, 8, 8)
GAMMA = 0.05


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(3)
    return Images(torch.rand(8, *SIZE, generator=generator, dtype=torch.float64), torch.arange(8) % 5)


def network(surgery=None, wide=doubled):
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 9, 3, padding=1), nn.BatchNorm2d(9), nn.ReLU(), nn.Flatten(), nn.Linear(576, 5)]
    model = nn.Sequential(*body)
    return wide(surgeon.apply(model, surgery, input_size=SIZE, seed=1) if surgery else model)


def settings(method, **more):
    adversary = Adversary(method=method, eps=0.1, steps=None if method in ("fgsm", "n-fgsm") else 2)
    return Training(
        epochs=1, batch_size=8, lr=0.1, momentum=0.9, weight_decay=0.01, adversary=adversary, **more
    )


def trained(model, images, training, monkeypatch):
    """One step of `fit`: its loss, and what its network was fed."""
    made = []

    def kept(*arguments):
        made.append((attacked(*arguments), arguments[2]))
        return made[-1][0]

    monkeypatch.setattr("surgeon.training.step.attacked", kept)
    (row,) = fit(model, images, None, training, seed=1, device="cpu", progress=False)
    ((adversarial, clean),) = made
    order = [int((images.x - x).flatten(1).norm(dim=1).argmin()) for x in clean]
    return row.loss, clean, adversarial, images.y[order]


def mart_by_hand(clean, hit, y, weight):
    """Eq. 11 of the paper, image by image and class by class."""
    losses = []
    for a, b, label in zip(clean.softmax(1), hit.softmax(1), y.tolist(), strict=True):
        wrong = max(float(p.detach()) for k, p in enumerate(b) if k != label)
        rival = next(p for k, p in enumerate(b) if k != label and float(p.detach()) == wrong)
        kl = sum(p * (p / q).log() for p, q in zip(a, b, strict=True))
        losses.append(-b[label].log() - (1 - rival).log() + weight * kl * (1 - a[label]))
    return torch.stack(losses)


def paired_loss(method, clean, hit, y):
    if method == "mart":
        return mart_by_hand(clean, hit, y, 6.0).mean()
    return cross_entropy(clean, y) + 6.0 * divergence(hit, clean).mean()


def by_hand(model, clean, hit, y, method, gamma=None):
    """The step of Wu et al., Algorithm 1, or that of the method alone; returns the loss that it minimised."""
    model.train()

    def loss_of(network):
        if method in ("trades", "mart"):
            return paired_loss(method, *network(torch.cat([clean, hit])).chunk(2), y)
        return cross_entropy(network(hit), y)

    optimizer = torch.optim.SGD(
        [
            {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.01},
            {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0},
        ],
        lr=0.1,
        momentum=0.9,
        nesterov=True,
    )
    shadow = copy.deepcopy(model)
    if gamma is not None:
        proxy = copy.deepcopy(model)
        loss_of(proxy).backward()
        with torch.no_grad():
            for p, q in zip(shadow.parameters(), proxy.parameters(), strict=True):
                if p.dim() > 1:
                    p += gamma * p.norm() * q.grad / q.grad.norm()
    loss = loss_of(shadow)
    loss.backward()
    for p, q in zip(model.parameters(), shadow.parameters(), strict=True):
        p.grad = q.grad
    optimizer.step()
    with torch.no_grad():  # statistics are those of the one pass that is trained on
        for b, c in zip(model.buffers(), shadow.buffers(), strict=True):
            b.copy_(c)
    return loss.item()


@pytest.mark.parametrize("surgery", [None, "kap"])
@pytest.mark.parametrize(
    ("method", "gamma"),
    [("mart", None), ("n-fgsm", None), ("pgd", GAMMA), ("trades", GAMMA), ("mart", GAMMA)],
)
def test_a_step_is_the_papers(images, method, gamma, surgery, monkeypatch):
    cut = {"op": "kap", "sigma": 0.0} if surgery else None
    model, twin = network(cut), network(cut)
    awp = None if gamma is None else WeightPerturbation(gamma=gamma)
    found, clean, hit, y = trained(model, images, settings(method, awp=awp), monkeypatch)
    assert found == pytest.approx(by_hand(twin, clean, hit, y, method, gamma), rel=1e-11)
    for (name, value), wanted in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(value, wanted, atol=1e-11, rtol=1e-11, msg=name)


@pytest.mark.parametrize("source", ["anl", "canl", "lat", "gaussian"])
def test_with_noise_layers_weights_are_moved_without_noise_and_the_step_has_it(images, source, monkeypatch):
    cut = {"op": "adversarial-noise", "source": source, "epsilon": 0.1}
    model, twin = network(cut), network(cut)
    training = settings("pgd", awp=WeightPerturbation(gamma=GAMMA), noise_share=1.0)
    seen, enabled = [], []

    def noted(layer, inputs, output):
        if layer.training:
            enabled.append(layer.enabled)
            seen.append(float((output.detach() - inputs[0].detach()).norm()))

    layer = next(m for m in model.modules() if isinstance(m, NoiseLayer))
    layer.register_forward_hook(noted)
    found, _, hit, y = trained(model, images, training, monkeypatch)
    assert enabled == [False, True, True][: len(enabled)] and len(enabled) == (3 if source == "anl" else 2)
    assert seen[0] == 0 and (seen[-1] > 0 or source in ("canl", "lat"))  # which know no gradient yet
    twin.train()
    quiet = copy.deepcopy(twin)
    for m in quiet.modules():
        if hasattr(m, "enabled"):
            m.enabled = False
    weights = perturbable(quiet)
    offsets = worst_offsets(weights, torch.autograd.grad(cross_entropy(quiet(hit), y), weights), GAMMA)
    with torch.no_grad():
        for p, v in zip(perturbable(twin), offsets, strict=True):
            p += v
    if source in ("canl", "lat"):  # no noise yet: the loss at the moved weights
        with adversarial_noise(twin, hit, y, cross_entropy):
            assert found == pytest.approx(cross_entropy(twin(hit), y).item(), rel=1e-11)


def test_weights_are_put_back_bit_for_bit(images, monkeypatch):
    """With a learning rate that moves nothing, float32 weights are what they were, and the loss is another."""
    losses = []
    for awp in (None, WeightPerturbation(gamma=0.5)):
        model = network(wide=lambda model: model)
        before = copy.deepcopy(model.state_dict())
        training = settings("pgd", awp=awp).model_copy(
            update={"lr": 1e-30, "min_lr": 1e-30, "weight_decay": 0.0, "schedule": "constant"}
        )
        data = Images(images.x.float(), images.y)
        losses.append(fit(model, data, None, training, seed=1, device="cpu", progress=False)[0].loss)
        assert all(torch.equal(p, before[n]) for n, p in model.named_parameters() if p.dim() > 1)
    assert losses[1] > 1.5 * losses[0]


def test_a_perturbation_has_the_size_of_its_layer_however_small_its_gradient_is():
    w = torch.randn(4, 3, dtype=torch.float64)
    for scale in (1.0, 1e-200, 0.0):
        gradient = torch.randn(4, 3, dtype=torch.float64) * scale
        (v,) = worst_offsets([w], [gradient], 0.1)
        wanted = 0.1 * float(w.norm()) if scale else 0.0
        assert float(v.norm()) == pytest.approx(wanted, rel=1e-12)
    assert worst_offsets([w], [None], 0.1) == [None]


def test_what_is_perturbed_is_the_weights_of_layers():
    import timm

    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=5)
    names = {id(p): n for n, p in vit.named_parameters()}
    found = {names[id(p)] for p in perturbable(vit)}
    assert found == {n for n, p in vit.named_parameters() if p.dim() > 1 and n.endswith("weight")}
    maps = surgeon.apply(network(), "wm-smoothing-all", input_size=SIZE)
    assert maps.get_submodule("0").maps in set(perturbable(maps))
    assert not any(p is maps.get_submodule("0").bias for p in perturbable(maps))
    nn.utils.parametrizations.weight_norm(vit.head)
    assert len(perturbable(vit)) == len(found) + 1


def test_micro_batches_are_perturbed_together(images):
    """The worst weights are the whole batch's: without norms over a batch, parts give what the whole gives."""
    rows = []
    for accumulate in (1, 2):
        torch.manual_seed(0)
        model = doubled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)))
        training = settings("fgsm", awp=WeightPerturbation(gamma=0.3), accumulate=accumulate)
        rows += fit(model, images, None, training, seed=1, device="cpu", progress=False)
    assert rows[1].loss == pytest.approx(rows[0].loss, rel=1e-12)


def test_n_fgsm_goes_from_noise_outside_of_the_ball_and_is_not_clipped(images):
    model = network().eval()
    x, y = images
    settings = Adversary(method="n-fgsm", eps=0.1, noise=2.0)
    tiny_step = BaseModel.model_copy(
        settings, update={"step_size": 1e-30}
    )  # unchecked: no attack may be that small
    start, found = (attacked(model, model, x, y, s, Shard(0, 8), "place") for s in (tiny_step, settings))
    leaf = start.clone().requires_grad_()
    cross_entropy(model(leaf), y).backward()
    torch.testing.assert_close(found, (start + 0.1 * leaf.grad.sign()).clamp(0, 1), atol=1e-12, rtol=0)
    inside = (x > 0.35) & (x < 0.65)
    assert 0.19 < float((start - x)[inside].abs().max()) <= 0.2 + 1e-9
    assert 0.25 < float((found - x)[inside].abs().max()) <= 0.3 + 1e-9


def test_boosted_cross_entropy_is_finite_where_the_wrong_class_is_certain():
    logits = torch.tensor([[0.0, 900.0, 0.0]], dtype=torch.float64, requires_grad=True)
    (found,) = boosted(logits, torch.tensor([0]))
    found.backward()
    assert float(found) == pytest.approx(900 + 900 - torch.tensor(2.0).log().item())
    assert bool(torch.isfinite(logits.grad).all())
    clean, hit = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    y = torch.arange(6) % 4
    found = Objective(beta=3.0, mart=True)(torch.cat([clean, hit]), y)
    torch.testing.assert_close(found, mart_by_hand(clean, hit, y, 3.0), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("recipe", "setting", "message"),
    [
        (
            "awp",
            "training.adversary=null",
            "awp perturbs weights under attacked images, and adversary is null",
        ),
        ("awp", "training.awp.warmup_epochs=10", "awp.warmup_epochs=10 and epochs=10"),
        ("awp", "training.awp.gamma=0", "training.awp.gamma"),
        ("mart", "training.mixup=0.2", "mixup=0.2 and adversary.method='mart'"),
        ("mart", "training.smoothing=0.1", "smoothing=0.1 and adversary.method='mart'"),
        ("mart", "training.adversary.clean_share=0.5", "clean_share=0.5 and method='mart'"),
        ("trades", "training.adversary.method=pgd", "beta=6 and method='pgd'"),
        ("at-pgd", "training.adversary.method=fgsm", "steps=10 and method='fgsm', which takes one step"),
        ("n-fgsm", "training.adversary.method=fgsm-rs", "noise=2 and method='fgsm-rs'"),
        ("at-swa", "training.ema=0.9", "ema=0.9 and swa are two averages"),
        ("at-swa", "training.swa.start=1.0", "training.swa.start"),
        ("plain", "training.update_norms=true", "update_norms=true is of averaged weights"),
    ],
)
def test_what_is_not_defined_is_refused_in_a_line(recipe, setting, message):
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, [setting])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_weights_in_parts_are_not_perturbed():
    """FSDP has a layer's weights in parts, and AWP's offsets are relative to the norm of the whole of them."""
    from accelerate import DistributedType

    from surgeon.training.step import Step

    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(kind, awp):
        ours = SimpleNamespace(
            process_index=0,
            num_processes=2,
            device=torch.device("cpu"),
            distributed_type=kind,
            mixed_precision="no",
        )
        return Step(model, model, optimizer, ours, None, settings("pgd", awp=awp), 0, None, Highest(4))

    awp = WeightPerturbation(gamma=GAMMA)
    with pytest.raises(RecipeError, match=r"awp perturbs whole layers.*train with DDP, or with awp=null"):
        step(DistributedType.FSDP, awp)
    step(DistributedType.FSDP, None).end()
    step(DistributedType.MULTI_GPU, awp).end()
