"""A verdict is of an image alone: models that compute over their batch are refused, and none else."""

import pytest
import torch
from torch import nn

from surgeon.errors import DataError
from surgeon.evaluation import Attack, assess, evaluate
from surgeon.recipe import Evaluation

X, Y = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 4
FGSM = Attack(name="fgsm", kind="own-pgd", eps=0.1)


class Centred(nn.Module):
    """Takes the mean image of the batch away."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        return self.head((x - x.mean(0, keepdim=True)).flatten(1))


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        return self.head((x + 0.3 * torch.randn_like(x)).flatten(1))


def norms(**how):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, **how), nn.Flatten(), nn.Linear(144, 4)).eval()


@pytest.mark.parametrize(
    "model", [Centred(), norms(track_running_stats=False)], ids=["centred", "no-statistics"]
)
def test_models_that_compute_over_their_batch_are_refused(model, tmp_path):
    with pytest.raises(DataError, match="of 12 images together|of 8 images together than of 4 of them"):
        evaluate(model, X, Y, [FGSM])
    with pytest.raises(DataError, match="no verdict would be of an image alone"):
        assess(model, X, Y, Evaluation(suite="basic", attacks=["fgsm"]), tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "model", [norms(), norms().train(), Noisy()], ids=["statistics", "training", "noise"]
)
def test_others_are_not(model):
    assert evaluate(model, X, Y, [FGSM])


def test_a_number_of_images_that_was_asked_for_and_is_another_is_a_remark(tmp_path):
    asked = Evaluation(suite="basic", attacks=["fgsm"], samples=100)
    found = assess(norms(), X, Y, asked, tmp_path / "a")
    assert "samples=100, and 12 images were given: all of them are evaluated" in found.notes
    asked = Evaluation(suite="basic", attacks=["fgsm"], samples=12)
    assert not [n for n in assess(norms(), X, Y, asked, tmp_path / "b").notes if "samples=" in n]


@pytest.mark.parametrize("count", [2, 3])
def test_few_images_are_asked_too(count):
    with pytest.raises(DataError, match=f"of {count} images together than of {count - 1} of them"):
        evaluate(norms(track_running_stats=False), X[:count], Y[:count], [FGSM])
    assert evaluate(norms(), X[:count], Y[:count], [FGSM])
