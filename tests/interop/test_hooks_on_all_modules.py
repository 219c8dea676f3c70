"""Hooks on all modules of the process: they do not reach the blocks of a rewritten network, and a warning says so."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.modules import module as hooks
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

import surgeon
from surgeon.errors import SurgeryWarning
from tests.interop.conftest import SIZE

WAYS = ("forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook")
TEXT = r"hooks on all modules .* do not reach conv1, layer1, .* of this ResNet: .* which they reach"


@pytest.fixture
def on_all():
    """A function that puts a hook on all modules, by one of WAYS; gone after the test."""
    handles = []
    yield lambda way, hook: handles.append(getattr(hooks, f"register_module_{way}")(hook))
    for handle in handles:
        handle.remove()


def told(run):
    """The warnings of surgeon's about hooks on all modules in a run."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        run()
    return [w for w in found if issubclass(w.category, SurgeryWarning) and "on all modules" in str(w.message)]


@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()  # backward hooks on all modules do not go with activations in place, nor in the stock network
def test_they_are_told_once_a_network(cut, batch, on_all, way):
    network, images = cut("anl"), batch[0]
    assert not told(lambda: network(images))
    on_all(way, lambda *args: None)
    assert not told(lambda: list(network.modules()))
    with pytest.warns(SurgeryWarning, match=TEXT):
        network(images)
    assert not told(lambda: network(images))
    assert len(told(lambda: [copy.deepcopy(network)(images)])) == 1


def test_so_they_are_by_the_other_methods_that_run_layers(cut, batch, on_all):
    network = cut("anl")
    on_all("forward_hook", lambda *args: None)
    with pytest.warns(SurgeryWarning, match=TEXT):
        network.forward_features(batch[0])


def test_what_they_reach_and_what_not(stock, cut, batch, on_all):
    seen = []
    on_all("forward_hook", lambda module, *rest: seen.append(type(module)))
    stock(batch[0])
    expected, seen[:] = list(seen), []
    told(lambda: cut("kap")(batch[0]))
    leaves = [k for k in seen if k in (nn.Conv2d, nn.BatchNorm2d, nn.Linear)]
    assert leaves == [k for k in expected if k in (nn.Conv2d, nn.BatchNorm2d, nn.Linear)]
    blocks = {type(b) for b in stock.layer1}
    assert blocks & {*expected} and not blocks & {*seen}


def test_those_of_torch_are_not_told_whose_totals_are_right(stock, cut, batch):
    network, counted = cut("anl"), []
    for one in (stock, network):
        with FlopCounterMode(display=False) as counter:
            assert not told(lambda one=one: one(batch[0]))
        counted.append(counter.get_total_flops())
    assert counted[0] == counted[1] > 0
    with ModuleTracker():
        assert not told(lambda: network(batch[0]))


def test_a_tracker_of_other_code_is(cut, batch):
    class Mine(ModuleTracker):
        pass

    with Mine():
        assert told(lambda: cut("anl")(batch[0]))


def test_a_network_of_layers_alone_loses_nothing(on_all):
    flat = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    network = surgeon.apply(flat.eval(), "noise", input_size=(3, 8, 8), seed=1).eval()
    on_all("forward_hook", lambda *args: None)
    assert not told(lambda: network(torch.randn(2, 3, 8, 8)))


def test_surgeons_own_work_tells_nothing(stock, batch, on_all):
    on_all("forward_hook", lambda *args: None)
    assert not told(lambda: surgeon.fold(surgeon.apply(stock, "kap", input_size=SIZE, seed=1)))
