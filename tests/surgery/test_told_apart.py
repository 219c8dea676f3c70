"""Code that torch.fx cannot follow calls a part several times: its layers cannot have one for each call."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.graph.sites.distinct_calls import mixed_up

SIZE = (3, 8, 8)


class Step(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x):
        return x + self.relu(self.conv(x)).tanh()


class Looping(nn.Module):
    """Repeats a step in code that no graph shows; the step itself can be followed."""

    def __init__(self):
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, 6, 3), nn.ReLU()
        self.step = Step()
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        x = self.act(self.stem(x))
        with torch.random.fork_rng(devices=[]):
            for _ in range(3):
                x = self.step(x)
        return self.fc(x.mean((2, 3)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Looping().eval()


def test_a_layer_for_each_of_calls_that_one_graph_shows_is_passed_over_with_the_reason(model):
    images = torch.rand(8, *SIZE)
    site = {s.name: s for s in surgeon.sites(model, input_size=SIZE)}["step.relu"]
    assert site.calls == 3
    made = surgeon.plan(model, "meansparse", input_size=SIZE, alpha=0.5)
    (passed,) = [p for p in made.passed_over if p.site == "step.relu"]
    assert passed.operation == "meansparse"
    assert passed.reason.startswith("it is called 3 times, and 1 of the calls stand in the graph of step: ")
    assert made.edits and "step.relu" not in {e.site for e in made.edits}
    surgeon.apply(model, made, calibration=images)  # what is planned can be carried out


def test_a_layer_for_all_calls_stays(model):
    made = surgeon.plan(model, "kwta", input_size=SIZE)
    assert "step.relu" in {e.site for e in made.edits}
    cut = surgeon.apply(model, made)
    assert not isinstance(cut.step.relu, nn.ReLU)
    assert torch.isfinite(cut(torch.rand(2, *SIZE))).all()


def test_calls_that_the_graph_of_the_whole_network_shows_keep_their_layers():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()

        def forward(self, x):
            return self.relu(self.conv(self.relu(self.conv(x)))).mean((2, 3))

    made = surgeon.plan(Twice(), "meansparse", input_size=SIZE, alpha=0.5)
    assert [e.call for e in made.edits] == [0, 1] and not made.passed_over
    from surgeon.surgery import look

    assert mixed_up(look(Twice(), input_size=SIZE), Twice(), made.edits) == {}
