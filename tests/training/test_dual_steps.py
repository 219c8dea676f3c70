"""Training with auxiliary norms: a step is that of Algorithm 1 (arXiv 1911.09665), with every adversary."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import surgeon
from surgeon.data import Images
from surgeon.errors import RecipeError
from surgeon.recipe import Adversary, Training
from surgeon.training import auxiliary_norms, fit
from surgeon.training.adversary import attacked
from surgeon.training.objective import divergence
from tests.sensitivity import doubled

pytest.importorskip("accelerate")
SIZE = (3, 8, 8)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(3)
    return Images(torch.rand(8, *SIZE, generator=generator, dtype=torch.float64), torch.arange(8) % 5)


def network():
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(384, 5)]
    return doubled(surgeon.apply(nn.Sequential(*body), {"op": "dual-norm"}, input_size=SIZE))


def settings(method, **more):
    adversary = Adversary(method=method, eps=0.1, steps=None if method == "fgsm" else 2)
    return Training(epochs=1, batch_size=8, lr=0.1, momentum=0.9, weight_decay=0, adversary=adversary, **more)


@pytest.mark.parametrize("method", ["pgd", "fgsm", "trades"])
def test_a_step_is_the_sum_of_both_losses(images, method, monkeypatch):
    made = []

    def kept(*arguments):
        made.append((attacked(*arguments), arguments[2]))
        return made[-1][0]

    monkeypatch.setattr("surgeon.training.step.attacked", kept)
    model, twin = network(), network()
    (row,) = fit(model, images, None, settings(method), seed=1, device="cpu", progress=False)
    ((adversarial, clean),) = made
    order = [int((images.x - x).flatten(1).norm(dim=1).argmin()) for x in clean]
    y = images.y[order]
    twin.train()
    one = twin(clean)
    with auxiliary_norms(twin):
        two = twin(adversarial)
    second = 6.0 * divergence(two, one).mean() if method == "trades" else cross_entropy(two, y)
    loss = cross_entropy(one, y) + second
    loss.backward()
    torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, nesterov=True).step()
    assert row.loss == pytest.approx(loss.item(), rel=1e-12)
    for (name, value), wanted in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(value, wanted, atol=1e-12, rtol=1e-12, msg=name)
    assert not torch.allclose(
        model.get_submodule("1").running_mean, model.get_submodule("1.auxiliary").running_mean
    )


def test_images_are_attacked_where_the_auxiliary_norms_look(images, monkeypatch):
    seen = []

    def kept(model, *arguments):
        seen.append(model.get_submodule("1.auxiliary").swapped)
        return attacked(model, *arguments)

    monkeypatch.setattr("surgeon.training.step.attacked", kept)
    fit(network(), images, None, settings("pgd"), seed=1, device="cpu", progress=False)
    assert seen == [True]


def test_validation_under_attack_is_of_the_main_norms(images, monkeypatch):
    seen = []

    def kept(model, *arguments):
        seen.append(model.get_submodule("1.auxiliary").swapped)
        return attacked(model, *arguments)

    monkeypatch.setattr("surgeon.training.validation.attacked", kept)
    fit(network(), images, images, settings("pgd"), seed=1, device="cpu", progress=False)
    assert seen == [False]


def test_without_an_adversary_the_auxiliary_norms_stay(images):
    model = network()
    before = copy.deepcopy(model.get_submodule("1.auxiliary").state_dict())
    fit(model, images, None, Training(epochs=1, batch_size=8), seed=1, device="cpu", progress=False)
    after = model.get_submodule("1.auxiliary").state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_micro_batches_have_clean_and_attacked_halves_each(images):
    one, two = (
        fit(network(), images, None, settings("fgsm", accumulate=n), seed=1, device="cpu", progress=False)
        for n in (1, 2)
    )
    assert two[0].loss == pytest.approx(one[0].loss, rel=0.2) and two[0].loss != one[0].loss


def test_noise_layers_beside_them_are_refused(images):
    model = surgeon.apply(
        network(), {"op": "adversarial-noise", "source": "lat"}, input_size=SIZE, stack=True
    )
    with pytest.raises(RecipeError, match="call the network twice"):
        fit(model, images, None, settings("pgd"), seed=1, device="cpu", progress=False)
    fit(model, images, None, Training(epochs=1, batch_size=8), seed=1, device="cpu", progress=False)
