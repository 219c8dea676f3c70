"""Diagnostics: two honest models pass, three whose numbers mislead are caught, each by the checks that should."""

import pytest
import torch
from torch import nn

from surgeon.errors import DataError
from surgeon.evaluation import Normalized, diagnose

pytest.importorskip("torchattacks")
pytest.importorskip("scipy")


class Scaled(nn.Module):
    """Logits × 10⁴: the cross-entropy of what is right has no gradient left in float32."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x) * 1e4


class Quantised(nn.Module):
    """Pixels rounded to a few levels: no gradient passes."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model((x * 7).round() / 7)


class Noisy(nn.Module):
    """Noise at inference."""

    def __init__(self, model, sigma):
        super().__init__()
        self.model, self.sigma = model, sigma

    def forward(self, x):
        return self.model((x + self.sigma * torch.randn_like(x)).clamp(0, 1))


def codes(diagnosis):
    return {c.code.split(" from")[0] for c in diagnosis.checks if c.failed}


def test_the_plain_network_passes(trained):
    model, (x, y) = trained
    found = diagnose(model, x[:64], y[:64], eps=0.1)
    assert found.reliable and not found.random, found.reasons
    assert found.reasons == ()
    traced = {"silent-success", "incomplete-optimisation", "transfer-failure", "bad-initialisation"}
    assert traced <= {c.code for c in found.checks}


def test_the_adversarially_trained_network_passes(hardened, trained):
    model, (x, y) = trained
    found = diagnose(hardened, x[:64], y[:64], eps=0.1)
    assert found.reliable and not found.random, found.reasons
    curve = next(c for c in found.checks if c.code == "eps-curve").measured
    plain = next(c for c in diagnose(model, x[:64], y[:64], eps=0.1).checks if c.code == "eps-curve").measured
    assert curve["1 ε"] > plain["1 ε"] + 0.2  # it is what it is said to be
    assert diagnose(hardened, x[:64], y[:64], eps=1.0, norm="l2").reliable


def test_large_logits_are_caught(trained):
    model, (x, y) = trained
    found = diagnose(Scaled(model), x[:64], y[:64], eps=0.1, sources={"plain": model})
    assert not found.reliable and not found.random
    assert {"zero-gradients", "losses", "transfer"} <= codes(found)
    zero = next(c for c in found.checks if c.code == "zero-gradients").measured
    assert zero["ce"] > 0.5 and zero["margin"] == 0
    assert any("images have no gradient (ce)" in r for r in found.reasons)


def test_a_quantised_input_is_caught(trained):
    model, (x, y) = trained
    found = diagnose(Quantised(model), x, y, eps=0.1, sources={"plain": model})
    assert not found.reliable and not found.random
    assert {"zero-gradients", "finite-differences", "unbounded", "black-box", "transfer"} <= codes(found)


def test_a_noisy_model_is_caught_and_needs_the_expectation(trained):
    model, (x, y) = trained
    found = diagnose(Noisy(model, 0.2), x[:64], y[:64], eps=0.1)
    assert not found.reliable and found.random
    assert "two-passes" in codes(found)


def test_a_real_network_passes_and_is_caught_once_it_is_masked(shared):
    """Two columns of the table on the ResNet-20 and 20 JPEG images; `python -m experiments.diagnostics`
    makes all five."""
    import surgeon
    from surgeon.data import held_out
    from surgeon.models import normalization_of

    weights = next((shared / "weights").glob("resnet20-*.th"))
    network = surgeon.create_model("zoo/cifar_resnet20", weights=str(weights)).eval()
    plain = Normalized(network, *normalization_of(network))
    test = held_out(str(shared / "data" / "cifar10-jpeg"), (3, 32, 32), count=20)
    assert test.split == "test" and test.y.bincount().tolist() == [2] * 10
    assert diagnose(plain, test.x, test.y, eps=2 / 255).reliable
    assert {"zero-gradients", "losses"} <= codes(diagnose(Scaled(plain), test.x, test.y, eps=2 / 255))


def test_the_guides_network_passes():
    """LeNet-5 of four epochs, 32 images: undefended; APGD on the cross-entropy leaves 14, on the logits' ratio 10."""
    import surgeon
    from surgeon.data import digits, held_out
    from surgeon.recipe import load_recipe
    from surgeon.training import fit

    torch.manual_seed(0)
    network = surgeon.create_model("zoo/lenet5", num_classes=10, input_size=(1, 32, 32))
    settings = load_recipe("plain", ["training.epochs=4", "training.lr=0.1"]).training
    fit(network, digits(32)["train"], None, settings, progress=False)
    test = held_out("digits", (1, 32, 32), count=32)
    found = diagnose(Normalized(network.eval()), test.x, test.y, eps=0.05)
    assert {c.code for c in found.checks if c.failed} <= {"few-images"}, found.reasons


class Contrast(nn.Module):
    """By how much the largest pixels stand out: on a flat image max pooling has ties, at which no
    gradient is a slope."""

    def forward(self, x):
        pooled = nn.functional.max_pool2d(x, 4).flatten(1).mean(1, keepdim=True)
        found = pooled - x.flatten(1).mean(1, keepdim=True)
        return torch.cat([20 * found, torch.zeros_like(found)], dim=1)


def test_the_ties_of_flat_images_are_no_masked_gradients():
    """As the black background of a scan: half of the slope is on one side of the tie, none of it on the other."""
    from surgeon.evaluation.diagnostics.slopes import finite_differences

    x, y = (
        torch.linspace(0, 1, 40).view(-1, 1, 1, 1).expand(-1, 1, 16, 16).contiguous(),
        torch.zeros(40).long(),
    )
    assert not finite_differences(Contrast(), x, y, 0).failed
    assert finite_differences(Quantised(Contrast()), x, y, 0).failed


def test_too_few_images_tell_nothing(trained):
    model, (x, y) = trained
    found = diagnose(model, x[:8], y[:8], eps=0.1)
    assert not found.reliable and codes(found) == {"few-images"}
    assert (
        "8 of the images are right as they are, too few to tell anything from: give more" in found.reasons[0]
    )


def test_what_cannot_be_diagnosed(trained):
    model, (x, y) = trained
    nothing = diagnose(model, x[:8], (model(x[:8]).argmax(1) + 1) % 10, eps=0.1)
    assert not nothing.reliable and "gets none of the 8 images right" in nothing.reasons[0]
    with pytest.raises(DataError, match="they look like 0–255"):
        diagnose(model, x * 255, y, eps=0.1)


def test_two_classes_are_diagnosed_without_dlr():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(27, 2))
    x = torch.rand(32, 3, 3, 3)
    found = diagnose(model, x, model(x).argmax(1), eps=0.05)
    assert "pgd-margin" in next(c for c in found.checks if c.code == "losses").measured


def test_a_network_that_asks_one_of_two_at_random_is_seen_to_be_random():
    from surgeon.evaluation.diagnostics.probes import PASSES, RANDOM, between_passes

    class Switching(nn.Module):
        """Asks one network in the first calls, and another in the last of those that are looked at."""

        calls = 0

        def forward(self, x):
            self.calls += 1
            return x.flatten(1) * (1.0 if self.calls < PASSES else 1.1)

    assert between_passes(Switching(), torch.rand(2, 1, 4, 4)) > RANDOM
    assert between_passes(nn.Flatten(), torch.rand(2, 1, 4, 4)) == 0
