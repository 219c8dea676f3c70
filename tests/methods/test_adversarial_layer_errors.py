"""What adversarial layers refuse, and in-place activations behind them."""

import pytest
import torch

from surgeon.errors import LayerError
from surgeon.methods.adversarial_noise import ANL, CANL, make_layer


def ready(source, phase="perturb", **kwargs):
    layer = make_layer(source, **kwargs)
    layer.enter(phase)
    return layer


def recorded_twice():
    layer = ready("anl", "record")
    layer(torch.ones(2, 2))
    layer(torch.ones(2, 2))


def wrong_gradient():
    layer = ready("anl", "record")
    layer(torch.ones(2, 2))
    layer.set_gradient(torch.ones(2, 3))


def stale_gradient():
    layer = ready("anl")
    layer.set_gradient(torch.ones(3, 2))
    layer(torch.ones(2, 2))


def wrong_labels(labels):
    layer = ready("canl", num_classes=3)
    layer.set_labels(labels)
    layer(torch.ones(2, 2))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: make_layer("fgsm"),
            "source='fgsm' is not known; 'anl', 'canl', 'lat', 'gaussian' are",
        ),
        (
            lambda: CANL(),
            "num_classes=None cannot size the cache of source='canl'; give the class",
        ),
        (lambda: ANL(epsilon=float("nan")), "epsilon=nan must be finite"),
        (lambda: ANL(momentum=0), "momentum=0 is outside (0, 1]; None uses"),
        (
            lambda: CANL(num_classes=2, cache_dtype=torch.int8),
            "cache_dtype=torch.int8 cannot hold",
        ),
        (lambda: ready("anl", "round2"), "phase='round2' is not known; 'idle', 'record', 'perturb' are"),
        (
            lambda: ready("anl")(torch.ones(2, 2)),
            "(2, 2) (stored: none); it needs the two-round step of surgeon.training.adversarial_noise, or source=",
        ),
        (
            stale_gradient,
            "this batch of shape (2, 2) (stored: one of shape (3, 2)); it needs the two-round step",
        ),
        (recorded_twice, "this adversarial noise layer was called twice in one recording"),
        (wrong_gradient, "set_gradient got (2, 3); expected the recorded (2, 2)"),
        (
            lambda: ready("anl").set_gradient(None),
            "set_gradient got None; expected phase 'record' to run first",
        ),
        (
            lambda: ready("lat").set_gradient(torch.ones(2)),
            "set_gradient belongs to source='anl'; source='lat' finds",
        ),
        (
            lambda: ready("anl").set_labels(torch.zeros(2, dtype=torch.long)),
            "set_labels belongs to source='canl'; source='anl' asks for no classes",
        ),
        (
            lambda: ready("canl", num_classes=3)(torch.ones(2, 2)),
            "canl needs the labels of this batch of 2, but none are set; call layer.set_labels before",
        ),
        (lambda: wrong_labels(torch.zeros(5, dtype=torch.long)), "labels of this batch of 2, but 5 are set"),
        (
            lambda: wrong_labels(torch.zeros(2, 3)),
            "canl needs class indices of shape (N,), got torch.float32 of shape",
        ),
        (
            lambda: wrong_labels(torch.tensor([0, 3])),
            "labels[1] is 3, and num_classes=3, the classes of the head at the cut: labels are 0 to 2",
        ),
        (lambda: wrong_labels(torch.tensor([-1, 2])), "labels[0] is -1, and num_classes=3"),
    ],
)
def test_errors_say_what_is_wrong(call, text):
    with pytest.raises(LayerError) as caught:
        call()
    assert text in str(caught.value)


@pytest.mark.parametrize("source", ["anl", "canl", "lat"])
def test_an_inplace_activation_directly_after_a_layer_on_a_plain_tensor(source):
    layer = ready(source, "record" if source == "anl" else "perturb", num_classes=2)
    if layer.needs_labels:
        layer.set_labels(torch.tensor([0, 1]))
    x = torch.tensor([[1.0, -1.0], [2.0, -2.0]])
    torch.relu_(layer(x)).sum().backward()
    expected = torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # dJ/dh before the activation, not after it
    found = {
        "anl": lambda: layer.batch.recorded.grad,
        "canl": lambda: layer.cache,
        "lat": lambda: layer.previous,
    }
    assert torch.equal(found[source]().float(), expected)


def test_the_gradient_of_a_view_that_an_inplace_activation_overwrites():
    layer = ready("anl", "record")
    x = torch.tensor([[1.0, -1.0], [2.0, -2.0]], requires_grad=True)
    loss = torch.relu_(layer((x * 1).view(2, 2, 1))).square().sum()
    (gradient,) = torch.autograd.grad(loss, layer.batch.recorded)
    assert torch.equal(gradient.flatten(), torch.tensor([2.0, 0.0, 4.0, 0.0]))
