"""Cuts in several threads, and beside threads that compute: each is what it is alone."""

import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import surgeon
from tests.own_models.checks import SIZE


class Coordinates(nn.Module):
    """Makes a table of the size of its input, and decides by it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Linear(6, 5)

    def forward(self, x):
        h, w = int(x.shape[2]), int(x.shape[3])
        rows = torch.linspace(-1, 1, h).view(1, 1, h, 1).expand(1, 1, h, w)
        if h > 20:
            x = x * 0.5
        x = torch.cat([x, rows.expand(x.shape[0], 1, h, w).to(x)], 1)
        return self.fc(F.relu(self.norm(self.conv(x))).mean((2, 3)))


def together(*jobs):
    """Run jobs in a thread each; what they raise."""
    errors = []

    def safely(job):
        try:
            job()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=safely, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_cuts_in_several_threads_are_what_they_are_alone():
    made = []
    errors = together(
        *(
            lambda: made.append(surgeon.apply(Coordinates().eval(), "noise", input_size=SIZE))
            for _ in range(4)
        )
    )
    assert not errors
    assert len({str(m.eval_graph) for m in made}) == 1


def test_a_cut_beside_a_network_that_is_called_at_new_sizes():
    model = surgeon.apply(Coordinates().eval(), "noise", input_size=SIZE).eval()

    def calls():
        for side in range(10, 18):
            model(torch.randn(2, 3, side, side))

    def cuts():
        for _ in range(2):
            surgeon.apply(Coordinates().eval(), "noise", input_size=SIZE)

    assert not together(calls, cuts)


@pytest.mark.parametrize("transform", ["grad", "jvp", "vmap"])
def test_a_new_size_inside_of_a_transform(transform):
    torch.manual_seed(0)
    stock = Coordinates().eval()
    cut = surgeon.apply(stock, "noise", input_size=SIZE).eval()
    x = torch.randn(2, 3, 24, 24)

    def transformed(model):
        if transform == "grad":
            return torch.func.grad(lambda z: model(z).sum())(x)
        if transform == "jvp":
            return torch.func.jvp(model, (x,), (x,))[1]
        return torch.vmap(lambda z: model(z[None]))(x)

    torch.testing.assert_close(transformed(cut), transformed(stock))
