"""A weight that a layer has and a function reads too: it is neither folded into nor fitted."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import surgeon
from surgeon.errors import FoldError

SIZE = (3, 8, 8)


class Tied(nn.Module):
    """An autoencoder whose decoder is the transpose of its encoder."""

    def __init__(self):
        super().__init__()
        self.enc = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.last = nn.Conv2d(3, 16, 3, padding=1)

    def forward(self, x):
        return self.last(F.conv_transpose2d(F.relu(self.enc(x)), self.enc.weight, padding=1))


class Scaled(nn.Module):
    """A penalty in the output: the norm of a weight."""

    def __init__(self):
        super().__init__()
        self.c, self.fc = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(self.c(x).relu().mean((2, 3))) / self.c.weight.norm()


class Typed(nn.Module):
    """Code that asks a weight for its type and device alone."""

    def __init__(self):
        super().__init__()
        self.c, self.fc = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 5)

    def forward(self, x):
        x = x.type_as(self.c.weight).to(self.c.weight.device) * self.c.weight.new_ones(1)
        return self.fc(self.c(x).relu().mean((2, 3)))


class Untraced(nn.Module):
    """A network that no graph shows as a whole reads a weight of a part that has graphs."""

    def __init__(self):
        super().__init__()
        self.part = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())

    def forward(self, *given):
        return self.part(given[0]).mean((2, 3)) / self.part[0].weight.norm()


class ByName(Untraced):
    """The same as an argument with a name."""

    def forward(self, *given):
        return self.part(given[0]).mean((2, 3)) / torch.sum(input=self.part[0].weight)


class InAList(Untraced):
    """The same in a list."""

    def forward(self, *given):
        return self.part(given[0]).mean((2, 3)) / torch.stack([self.part[0].weight]).sum()


@pytest.mark.parametrize("kind, site, by", [(Tied, "enc", "conv_transpose2d"), (Scaled, "c", "norm")])
def test_a_weight_that_a_function_reads_is_not_folded_into(kind, site, by):
    torch.manual_seed(0)
    stock = kind().eval()
    planned = surgeon.plan(stock, "kap", sigma=0.0, input_size=SIZE)
    edit = next(e for e in planned.edits if e.site == site)
    assert not edit.folds and f"{by} in the network's code reads its weight too" in edit.note
    cut = surgeon.apply(stock, "kap", sigma=0.0, input_size=SIZE).eval()
    with pytest.raises(FoldError, match=rf"kap at {site}: {by} in the network's code"):
        surgeon.fold(cut)
    x = torch.randn(2, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(surgeon.fold(cut, partial=True).eval()(x), cut(x))


def test_a_record_that_says_it_folds_is_not_believed():
    stock = Scaled().eval()
    cut = surgeon.apply(stock, "kap", sigma=0.0, input_size=SIZE)
    edits = tuple(e.model_copy(update={"folds": True, "note": ""}) for e in cut.surgery.edits)
    cut.surgery = cut.surgery.model_copy(update={"edits": edits})
    with pytest.raises(FoldError, match="norm in the network's code reads its weight too"):
        surgeon.fold(cut)


@pytest.mark.parametrize("start", ["lstsq", "sequential"])
def test_a_weight_that_a_function_reads_is_not_fitted(start):
    torch.manual_seed(0)
    stock = Tied().eval()
    images = torch.randn(32, *SIZE)
    cut = surgeon.apply(stock, "kap", sigma=0.0, input_size=SIZE, calibration=images, warm_start=start)
    assert torch.equal(cut.enc.weight, stock.enc.weight)
    starts = {e.site: e.settings["start"] for e in cut.surgery.edits if e.layer}
    assert starts == {"enc": "naive"}


def test_a_weight_that_a_function_reads_is_no_companion_of_a_fit():
    torch.manual_seed(0)
    stock = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), Inner()).eval()
    images = torch.randn(32, *SIZE)
    cut = surgeon.apply(
        stock, "defective", input_size=SIZE, calibration=images, warm_start="sequential", trained=True
    )
    assert torch.equal(cut[3].read.weight, stock[3].read.weight)
    assert not torch.equal(cut[3].plain.weight, stock[3].plain.weight)


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.read, self.plain = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 4, 3, padding=1)

    def forward(self, x):
        return self.plain(self.read(x) / self.read.weight.norm()).mean((2, 3))


def test_no_other_module_takes_the_place_of_one_whose_weight_is_read():
    cut = surgeon.apply(Tied(), "wm-unsharp", input_size=SIZE)
    assert type(cut.enc) is nn.Conv2d and type(cut.last) is not nn.Conv2d


def test_asking_for_the_type_of_a_weight_is_no_reading():
    stock = Typed().eval()
    assert surgeon.plan(stock, "kap", sigma=0.0, input_size=SIZE).folds
    cut = surgeon.apply(stock, "kap", sigma=0.0, input_size=SIZE).eval()
    x = torch.randn(2, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(surgeon.fold(cut).eval()(x), cut(x))


@pytest.mark.parametrize("kind, by", [(Untraced, "norm"), (ByName, "sum"), (InAList, "stack")])
def test_code_without_a_graph_reads_too(kind, by):
    (edit,) = surgeon.plan(kind(), "kap", sigma=0.0, input_size=SIZE).edits
    assert not edit.folds and f"{by} in the network's code reads its weight too" in edit.note
