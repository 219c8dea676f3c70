"""Networks whose code writes into its input: judged as ones that do not, and nobody's images are written into."""

import copy
import warnings

import pytest
import torch
from torch import nn

import surgeon
from surgeon.data import Images
from surgeon.evaluation import Attack, assess, certify, diagnose, evaluate, noise_accuracy
from surgeon.insight.adversarial import attacked
from surgeon.insight.changes import layer_changes, spread_by_layer
from surgeon.insight.gradcam import gradcam
from surgeon.insight.moments import moments_by_layer
from surgeon.models.quiet import held_still
from surgeon.recipe import Adversary, Evaluation, Training
from surgeon.training import fit

pytest.importorskip("torchattacks")


class Scaled(nn.Module):
    """A network of images times 0.9: in place, as a first layer to spare memory, or not."""

    def __init__(self, network, *, in_place):
        super().__init__()
        self.network, self.in_place = network, in_place

    def forward(self, x):
        return self.network(x.mul_(0.9) if self.in_place else x * 0.9)


def told(outcome):
    return [(v.example, v.attack, v.margin, v.success, v.linf, v.queries) for v in outcome.verdicts]


@pytest.fixture
def pair(trained):
    model, data = trained
    plain = model.model if hasattr(model, "model") else model
    return (
        Scaled(copy.deepcopy(plain), in_place=False).eval(),
        Scaled(copy.deepcopy(plain), in_place=True).eval(),
        data,
    )


@pytest.mark.parametrize(
    "settings", [{"attacks": ("fgsm", "square"), "steps": 20}, {"attacks": ("pgd",), "steps": 3}]
)
def test_an_assessment_is_that_of_the_same_network_out_of_place(pair, tmp_path, settings):
    *models, data = pair
    x, before = data.x[:32].clone(), data.x[:32].clone()
    rows = []
    for number, model in enumerate(models):
        done = assess(model, x, data.y[:32], Evaluation(suite="basic", **settings), tmp_path / str(number))
        rows.append(
            (done.summary.clean.k, done.subject.mode, [(r.attack, r.shares) for r in done.summary.rows])
        )
        assert torch.equal(x, before)
    assert rows[0] == rows[1] and rows[0][1] == "standard"


def test_every_measurement_is_that_of_the_same_network_out_of_place(pair):
    *models, data = pair
    x, y = data.x[:16].clone(), data.y[:16]
    moved, attacks = (x + 0.05).clamp(0, 1), [Attack(name="own", kind="own-pgd", eps=0.1, steps=3)]
    asked = {
        "evaluate": lambda m: told(evaluate(m, x, y, attacks)),
        "diagnose": lambda m: diagnose(m, x, y, eps=0.1),
        "certify": lambda m: certify(m, x[:2], y[:2], sigma=0.25, n0=8, n=50),
        "noise": lambda m: noise_accuracy(m, x, y, [0.1]),
        "attacked": lambda m: [t.tolist() for t in vars(attacked(m, x, moved)).values()],
        "changes": lambda m: layer_changes(m, x, moved),
        "spread": lambda m: spread_by_layer(m, x),
        "moments": lambda m: moments_by_layer(m, x),
        "gradcam": lambda m: gradcam(m, x, y).tolist(),
    }
    for name, ask in asked.items():
        given, changed = x.clone(), moved.clone()
        first, second = ask(models[0]), ask(models[1])
        assert first == second, name
        assert torch.equal(x, given) and torch.equal(moved, changed), name


def test_a_cut_with_images_leaves_them_and_is_fitted_as_out_of_place(pair):
    *models, data = pair
    x, before = data.x[:32].clone(), data.x[:32].clone()
    cuts = [surgeon.apply(m, "meansparse", input_size=tuple(x.shape[1:]), calibration=x) for m in models]
    assert torch.equal(x, before)
    first, second = (c.surgery.execution for c in cuts)
    assert first.drift == second.drift and first.searches == second.searches


def test_a_training_attacks_the_images_themselves(pair):
    from surgeon.tensors.shard import Shard
    from surgeon.training.adversary import attacked as made

    *models, data = pair
    x, before = data.x[:8].clone(), data.x[:8].clone()
    one, other = (
        made(m, m, x, data.y[:8], Adversary(method="pgd", eps=0.1, steps=2), Shard(0, 8), 0, 0, 0)
        for m in models
    )
    assert torch.equal(one, other) and torch.equal(x, before)


def test_a_training_leaves_the_images(pair):
    *_, model, data = pair
    given, before = Images(data.x[:32].clone(), data.y[:32]), data.x[:32].clone()
    fit(model, given, Images(given.x[:16], given.y[:16]), Training(epochs=1, batch_size=16))
    assert torch.equal(given.x, before)


@pytest.mark.parametrize(
    "made", [torch.jit.script, lambda m: torch.jit.trace(m, torch.rand(2, 1, 8, 8)), torch.fx.symbolic_trace]
)
def test_scripted_and_traced_networks_get_copies_too(made):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = made(
            nn.Sequential(nn.Hardtanh(0.4, 0.6, inplace=True), nn.Flatten(), nn.Linear(64, 2)).eval()
        )
    x, y = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 0, 1])
    before = x.clone()
    evaluate(model, x, y, [Attack(name="own", kind="own-pgd", eps=0.1, steps=2)])
    with held_still(model):
        model(x)
    assert torch.equal(x, before) and not model._forward_pre_hooks


def test_nothing_is_left_on_a_network_that_was_held_still():
    model = nn.Flatten()
    with pytest.raises(RuntimeError, match="broken"), held_still(model):
        assert len(model._forward_pre_hooks) == 1
        raise RuntimeError("broken")
    assert not model._forward_pre_hooks
