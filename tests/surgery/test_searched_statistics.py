"""What a search says of the predictions is true of the stock network, also where batch norms stand behind."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.models.calibration import halves

SIZE = (3, 8, 8)


class Normed(nn.Module):
    """Two ReLUs, each before a norm, whose stored statistics are not quite those of the images."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12)
        self.conv2, self.norm2 = nn.Conv2d(12, 12, 3), nn.BatchNorm2d(12)
        self.act1, self.act2, self.fc = nn.ReLU(), nn.ReLU(), nn.Linear(12, 6)

    def forward(self, x):
        x = self.act1(self.norm1(self.conv1(x)))
        return self.fc(self.act2(self.norm2(self.conv2(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def images():
    return torch.randn(320, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def stock(images):
    torch.manual_seed(0)
    network = Normed().train()
    with torch.no_grad():
        for norm in (network.norm1, network.norm2):
            norm.momentum = None
        network(1.2 * images + 0.15)  # as in training, where augmented images have other statistics
        for norm in (network.norm1, network.norm2):
            norm.momentum = 0.1
    return network.eval()


def changed(stock, cut, images):
    with torch.no_grad():
        return float((stock(images).argmax(1) != cut.eval()(images).argmax(1)).double().mean())


@pytest.mark.parametrize("budget", [0.01, 0.05, 0.2])
def test_the_share_that_is_recorded_is_that_of_the_network_that_was_given(stock, images, budget):
    cut = surgeon.apply(stock, "smooth-activation", input_size=SIZE, calibration=images, budget=budget)
    found = cut.surgery.execution.searches["smooth-activation"]
    share = changed(stock, cut, halves(images, cut.surgery.seed).fitted)
    assert share <= budget and share == pytest.approx(dict(found.curve)[found.value])


def test_new_statistics_alone_would_have_broken_the_budget(stock, images):
    """Without this the test above could not fail."""
    from surgeon.models.reference import statistics_of

    fitted = halves(images, 0).fitted
    with torch.no_grad(), statistics_of(stock, fitted):
        anew = stock(fitted).argmax(1)
    assert float((anew != stock(fitted).argmax(1)).double().mean()) > 0.01


def test_where_statistics_are_kept_those_of_a_later_training_stay_at_a_revert(stock, images):
    cut = surgeon.apply(stock, "meansparse", input_size=SIZE, calibration=images)
    assert cut.surgery.execution.statistics == 0
    with torch.no_grad():
        cut.train()(3 * images)
    trained = cut.norm2.running_mean.clone()
    assert not torch.equal(trained, stock.norm2.running_mean)
    assert torch.equal(surgeon.revert(cut).norm2.running_mean, trained)


def test_beside_an_operation_that_changes_the_function_only_the_search_is_counted(stock, images):
    cut = surgeon.apply(stock, "kap+smooth-activation", input_size=SIZE, calibration=images)
    done = cut.surgery.execution
    assert done.searches["smooth-activation"].curve[0][1] == 0
