"""Code that comes into a network after the cut and does another thing in each call: it is called, not traced."""

import copy
import pickle
import types

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError
from tests.interop.tiny import IMAGES, Tiny, tiny_cut


class StepSkip(nn.Module):
    """Computes its block in every other call, and adds what that gave in the others."""

    def __init__(self, block):
        super().__init__()
        self.block, self.step, self.kept = block, 0, None

    def forward(self, x):
        if self.step % 2 == 0:
            self.kept = self.block(x) - x
        self.step += 1
        return x + self.kept


class Warm(nn.Module):
    """Leaves its block out in the first two calls."""

    def __init__(self, block):
        super().__init__()
        self.block, self.wait = block, 2

    def forward(self, x):
        if self.wait:
            self.wait -= 1
            return x
        return self.block(x)


class EveryOther(nn.Module):
    """Leaves its block out in every other call, which it counts in a list or a dict."""

    def __init__(self, block, held):
        super().__init__()
        self.block, self.held = block, held

    def forward(self, x):
        if isinstance(self.held, dict):
            self.held["calls"] += 1
        else:
            self.held.append(1)
        calls = self.held["calls"] if isinstance(self.held, dict) else len(self.held)
        return self.block(x) if calls % 2 else x


class Switched(EveryOther):
    on = False

    def forward(self, x):
        return super().forward(x) if self.on else self.block(x)


class Counting(nn.Sequential):
    """Runs its modules twice in every other call."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        x = super().forward(x)
        return x if self.calls % 2 else super().forward(x)


def wrap(kind, *args):
    def change(model):
        model.blocks[1] = kind(model.blocks[1], *args)

    return change


def with_held(make):
    return lambda model: wrap(EveryOther, make())(model)


def own_forward(model):
    block = model.blocks[1]
    block.calls, block.inner = 0, block.forward

    def counted(self, x):
        self.calls += 1
        return self.inner(x) if self.calls % 2 else x

    block.forward = types.MethodType(counted, block)


def exchanged_block(model):
    model.blocks[1] = Counting(*model.blocks[1])


LATE = {
    "a step that is skipped": wrap(StepSkip),
    "a late start": wrap(Warm),
    "calls counted in a list": with_held(list),
    "calls counted in a dict": with_held(lambda: {"calls": 0}),
    "a module appended to a container": lambda m: m.features.append(Counting(nn.Tanh(), nn.Identity())),
    "another block": exchanged_block,
    "two around one another": lambda m: (wrap(StepSkip)(m), wrap(Warm)(m)),
}


@pytest.fixture(scope="module")
def noisy():
    """With noise at the input, in training alone: in evaluation mode it gives what the stock network does."""
    return tiny_cut("input-noise")


def both(noisy):
    model = copy.deepcopy(noisy)
    return model, surgeon.revert(model).eval()


def agree(model, stock, calls=4):
    seen = []
    with torch.no_grad():
        for i in range(calls):
            seen.append(stock(IMAGES + i))
            torch.testing.assert_close(model(IMAGES + i), seen[-1])
    return seen


@pytest.mark.parametrize("late", [*LATE, "a forward of its own"])
def test_what_counts_its_calls_is_called_each_time(noisy, late):
    model, stock = both(noisy)
    for one in (model, stock):
        LATE.get(late, own_forward)(one)
        one.eval()
    agree(model, stock)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_so_it_is_in_copies_which_go_on_from_where_they_were(noisy, again):
    model, stock = both(noisy)
    for one in (model, stock):
        wrap(StepSkip)(one)
    agree(model, stock, 1)
    agree(again(model), stock, 3)
    assert model.blocks[1].step == 1  # of the network itself


@pytest.mark.filterwarnings("ignore::surgeon.errors.ArtifactWarning")
def test_so_it_is_where_it_is_loaded(noisy, tmp_path):
    model, stock = both(noisy)
    for one in (model, stock):
        wrap(StepSkip)(one)
    surgeon.save(model, tmp_path / "kept")
    loaded = surgeon.load(tmp_path / "kept", model=copy.deepcopy(stock)).eval()
    agree(loaded, copy.deepcopy(stock))


def test_so_it_is_where_only_other_parts_can_be_folded():
    model = tiny_cut(
        [{"op": "kap", "select": {"exclude": "blocks.**"}}, {"op": "defective"}]
    )  # which does not fold
    wrap(StepSkip)(model)
    agree(surgeon.fold(model, partial=True).eval(), model)
    assert model.blocks[1].step == 4


def test_and_in_graphs_for_other_calls_and_when_it_goes_again(noisy):
    model, stock = both(noisy)
    block = model.blocks[1]
    wrap(StepSkip)(model)
    list(model.named_modules())  # which makes the graphs anew, and counts nothing
    assert model.blocks[1].step == 0 and model.blocks[1].kept is None
    model(IMAGES)
    model.blocks[1] = block
    agree(model, stock, 2)


def test_what_was_there_at_the_cut_and_is_switched_on_later():
    torch.manual_seed(0)
    stock = Tiny().eval()
    stock.blocks[1] = Switched(stock.blocks[1], {"calls": 0})
    model = surgeon.apply(stock, "input-noise", input_size=(3, 8, 8)).eval()
    agree(model, stock, 2)
    for one in (model, stock):
        one.blocks[1].on = True
    agree(model, stock)


def test_and_has_layers_inside():
    torch.manual_seed(0)
    stock = Tiny().eval()
    stock.blocks[1] = Switched(stock.blocks[1], {"calls": 0})
    model = surgeon.apply(stock, "kap", input_size=(3, 8, 8)).eval()
    model(IMAGES)
    model.blocks[1].on = True
    with pytest.raises(SurgeryError, match=r"blocks\.1: .*it writes into its held.*surgeon.apply"):
        model(IMAGES)
    model.blocks[1].on = False
    model(IMAGES)


@pytest.mark.parametrize("change", [exchanged_block, own_forward])
def test_with_layers_inside_it_is_an_error_that_says_what_is_written_and_what_works(change):
    model = tiny_cut("kap")
    change(model)
    with pytest.raises(SurgeryError, match=r"blocks\.1: .*it writes into its calls.*surgeon.apply"):
        model(IMAGES)


def test_a_new_container_with_layers_inside_that_writes_nothing_is_traced():
    class Twice(nn.Sequential):
        def forward(self, x):
            return super().forward(x) + x

    model = tiny_cut("anl")  # which in evaluation mode computes what the stock network does
    stock = surgeon.revert(model).eval()
    for one in (model, stock):
        one.blocks[1] = Twice(*one.blocks[1])
    agree(model, stock, 1)


def test_a_change_of_known_code_alone_keeps_nothing_whole(noisy):
    model, stock = both(noisy)
    for one in (model, stock):
        one.classifier = nn.Sequential(*one.classifier, nn.Softmax(1))
    agree(model, stock, 1)
    assert "classifier" not in {str(n.target) for n in model.graph.nodes}
