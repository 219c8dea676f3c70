"""Sizes that code checks by `torch._check` and its kin."""

import copy
import pickle

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError
from tests.neutral import NEUTRAL, neutral

SIZE = (3, 16, 16)


class Net(nn.Module):
    def __init__(self, check):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 1)
        self.fc, self.check = nn.Linear(16, 4), check

    def forward(self, x):
        x = self.conv1(x)
        self.check(x)
        return self.fc(self.conv2(x).mean((2, 3)))


def side_of_x(x):
    torch._check(x.shape[2] > 8, lambda: "too small")


def in_words_of_the_call(x):
    torch._check(x.shape[2] > 8, lambda: f"{x.shape[2]:d} is too small")


def by_value(x):
    torch._check_value(x.shape[2] > 8, "too small")


def by_index(x):
    torch._check_index(x.size(2) > 8)


def at_a_branch(x):
    torch._check(x.shape[1] == 16)
    if x.shape[2] < 9:
        raise NotImplementedError


CHECKS = {
    side_of_x: (RuntimeError, "too small"),
    in_words_of_the_call: (RuntimeError, "Expected cond"),
    by_value: (ValueError, "too small"),
    by_index: (IndexError, "Expected cond"),
}


@pytest.mark.parametrize("method", NEUTRAL)
@pytest.mark.parametrize("check", [*CHECKS, at_a_branch])
def test_code_that_checks_its_sizes_is_cut_and_goes_on_checking(check, method):
    torch.manual_seed(0)
    stock, images = Net(check).eval(), torch.randn(2, *SIZE)
    cut = neutral(stock, method, SIZE)
    assert not cut.surgery.refused
    for network in (cut, copy.deepcopy(cut), pickle.loads(pickle.dumps(cut)), surgeon.revert(cut)):
        torch.testing.assert_close(network(images), stock(images))
    if check in CHECKS and method in ("noise", "kap"):
        error, text = CHECKS[check]
        with pytest.raises(error, match=text):
            cut(images[..., :8, :8])


def test_an_export_of_the_cut_network_checks_too():
    cut = neutral(Net(side_of_x).eval(), "noise", SIZE)
    images = torch.randn(2, *SIZE)
    torch.testing.assert_close(torch.export.export(cut, (images,)).module()(images), cut(images))


def test_what_is_checked_of_plain_numbers_is_torchs_own():
    known, network = torch._check_with, Net(lambda x: torch._check_value(False, lambda: "no")).eval()
    with pytest.raises(SurgeryError, match="ValueError: no"):
        surgeon.apply(network, "noise", input_size=SIZE)
    assert torch._check_with is known
