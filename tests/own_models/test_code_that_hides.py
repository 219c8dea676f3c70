"""Code that no graph can hold, or that a first run cannot show: what it calls is cut all the same, or the error says
what it is, where it stands and what would work."""

import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint_sequential

import surgeon
from surgeon.errors import SurgeryError
from tests.own_models.checks import SIZE, images

NOISE = {"op": "noise", "sigma": 0.1}


def body(ins=3):
    return nn.Sequential(nn.Conv2d(ins, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.fc = body(), nn.Linear(16, 5)

    def head(self, h):
        return self.fc(h.mean((2, 3)))


def made(kind):
    torch.manual_seed(0)
    return kind().eval()


def gives_what_the_stock_network_gives(kind, recipe=NOISE):
    stock = made(kind)
    cut = surgeon.apply(stock, recipe, input_size=SIZE).eval()
    torch.testing.assert_close(cut(images()), stock(images()))
    return cut


# -- checkpoint_sequential -------------------------------------------------------------------------------


class Blocks(Net):
    """Calls the children of a Sequential one by one, in training mode or always."""

    always = True

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(body(), body(16), body(16))

    def forward(self, x):
        if self.always or self.training:
            return self.head(checkpoint_sequential(self.body, 2, x, use_reentrant=False))
        return self.head(self.body(x))


class BlocksInTraining(Blocks):
    always = False


@pytest.mark.parametrize("kind", [Blocks, BlocksInTraining])
@pytest.mark.parametrize("training", [True, False])
def test_what_checkpoint_sequential_calls_is_cut_where_it_runs(kind, training):
    stock = made(kind).train(training)
    cut = surgeon.apply(stock, "kap", input_size=SIZE).train(training)
    assert len(cut.surgery.edits) == 6
    moved = cut(images()) - stock(images())
    assert float(moved.detach().abs().max()) > 1e-3


def test_layers_in_a_sequential_that_is_checkpointed_child_by_child_are_not_cut():
    class Layers(Net):
        def forward(self, x):
            return self.head(checkpoint_sequential(self.body, 2, x, use_reentrant=False))

    with pytest.raises(SurgeryError, match="calls modules inside it, and never it as a whole"):
        surgeon.apply(made(Layers), NOISE, input_size=SIZE)


def test_a_part_whose_layers_are_called_from_outside_is_not_cut_in_vain():
    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.rest = nn.Conv2d(3, 16, 3, padding=1), body(16)

        def forward(self, x):
            return self.rest(self.conv(x))

    class Reaching(Net):
        def __init__(self):
            super().__init__()
            self.body = Part()

        def forward(self, x):
            x = x * 2 if x.sum() > 0 else x
            return self.head(self.body.rest(self.body.conv(x)))

    cut = surgeon.apply(made(Reaching), NOISE, input_size=SIZE)
    assert {e.site for e in cut.surgery.edits} == {"body.rest.0", "body.rest.2"}


def test_a_rewritten_sequential_is_not_checkpointed_child_by_child():
    cut = surgeon.apply(made(body), NOISE, input_size=SIZE)
    with pytest.raises(SurgeryError, match=r"checkpoint it as a whole, by torch.utils.checkpoint.checkpoint"):
        checkpoint_sequential(cut, 2, images(), use_reentrant=False)
    assert len(list(cut.children())) == 4  # with the layer at the input


def test_a_checkpoint_of_a_networks_own_layers_is_named():
    class Own(Net):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.body = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3), None

        def forward(self, x):
            return self.head(checkpoint_sequential([self.one, self.two], 2, x, use_reentrant=False))

    with pytest.raises(SurgeryError, match=r"it calls torch.utils.checkpoint.* \(at test_code_that_hides.py"):
        surgeon.apply(made(Own), NOISE, input_size=SIZE)


# -- shapes that depend on values, errors that are caught ------------------------------------------------


class NonZero(Net):
    def forward(self, x):
        h = self.body(x)
        return self.head(h) + (h > 0).nonzero().double().mean().to(h)


class Masked(Net):
    def forward(self, x):
        h = self.body(x)
        return self.head(h) + h[h > 0].mean()


class Unique(Net):
    def forward(self, x):
        h = self.body(x)
        return self.head(h) + torch.unique(h.round()).numel()


class PickedOut(Net):
    def forward(self, x):
        h = self.body(x).mean((2, 3))
        rows, columns = torch.where(h > 0)
        return self.fc(h) + torch.stack([h[r, c] for r, c in zip(rows, columns, strict=True)]).sum()


class Caught(Net):
    def forward(self, x):
        h = self.body(x)
        try:
            h = h * 2 if h.mean() > 0 else h
        except TypeError:
            h = h * 5
        return self.head(h)


class CaughtNumber(Net):
    def forward(self, x):
        h = self.body(x)
        try:
            times = int(h.mean() > 0)
        except (TypeError, RuntimeError):
            times = 7
        return self.head(h) * (times + 1)


class CaughtShape(Net):
    def forward(self, x):
        h = self.body(x)
        try:
            h = h.reshape(len(h), 16, 9, 9)
        except RuntimeError:
            h = h * 2
        return self.head(h)


@pytest.mark.parametrize(
    "kind", [NonZero, Masked, Unique, PickedOut, Caught, CaughtNumber, CaughtShape], ids=lambda k: k.__name__
)
def test_shapes_by_values_and_errors_that_are_caught_are_the_stock_networks(kind):
    cut = gives_what_the_stock_network_gives(kind)
    assert {"body.0", "body.2"} <= {e.site for e in cut.surgery.edits}


def test_shapes_are_counted_where_they_depend_on_values():
    sites = {s.name: s for s in surgeon.sites(made(NonZero), input_size=SIZE)}
    assert sites["body.2"].out_shape == (16, 8, 8)


# -- functions of TorchScript, gradients that are asked for ----------------------------------------------


@pytest.fixture(scope="module")
def swish():
    def swish(x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(swish)


def test_a_function_of_torchscript_is_named_where_nothing_else_can_be_cut(swish):
    class Root(Net):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.body = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3), None

        def forward(self, x):
            return self.head(swish(self.two(self.one(x))))

    class Above(Net):
        def forward(self, x):
            return self.head(swish(self.body(x)))

    with pytest.raises(SurgeryError, match=r"calls swish\(\), a function that torch.jit.script has compiled"):
        surgeon.apply(made(Root), NOISE, input_size=SIZE)
    gives_what_the_stock_network_gives(Above)


def test_a_gradient_that_is_always_asked_for_is_named_and_one_where_there_is_any_works():
    class Retaining(Net):
        def forward(self, x):
            h = self.body(x)
            h.retain_grad()
            return self.head(h)

    class Asking(Net):
        def forward(self, x):
            h = self.body(x)
            if h.requires_grad:
                h.retain_grad()
            return self.head(h)

    with pytest.raises(SurgeryError, match=r"h.retain_grad\(\)\); it was run under torch.no_grad"):
        surgeon.apply(made(Retaining), NOISE, input_size=SIZE)
    gives_what_the_stock_network_gives(Asking)
