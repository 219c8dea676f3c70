"""Splitting by labels."""

import pytest
import torch

from surgeon.data import balanced, split
from surgeon.errors import DataError

LABELS = torch.tensor([0] * 50 + [1] * 30 + [2] * 7)


@pytest.mark.parametrize("stratified", [True, False])
def test_every_index_once_in_parts_of_their_shares(stratified):
    parts = split(LABELS, [0.2, 0.1], stratified=stratified, seed=1)
    assert sorted(torch.cat(parts).tolist()) == list(range(87))
    assert [len(p) for p in parts] == ([61, 17, 9] if stratified else [61, 17, 9])
    again = split(LABELS, [0.2, 0.1], stratified=stratified, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))
    assert not torch.equal(parts[1], split(LABELS, [0.2, 0.1], stratified=stratified, seed=2)[1])


def test_strata_keep_the_shares_of_each_class():
    parts = split(LABELS, [0.2, 0.1])
    assert torch.bincount(LABELS[parts[1]]).tolist() == [10, 6, 1]
    assert torch.bincount(LABELS[parts[2]]).tolist() == [5, 3, 1]


@pytest.mark.parametrize("shares", [[0.5, 0.5], [1.2], [0.0], [-0.1, 0.3]])
def test_shares_that_leave_nothing_are_refused(shares):
    with pytest.raises(DataError, match="leave nothing for the first part"):
        split(LABELS, shares)


def test_the_same_number_of_each_class():
    chosen = balanced(LABELS, 7, seed=3)
    assert torch.bincount(LABELS[chosen]).tolist() == [7, 7, 7]
    assert len(set(chosen.tolist())) == 21
    with pytest.raises(DataError, match="per_class=31 is more than 2 classes hold: bee has 30, cat has 7"):
        balanced(LABELS, 31, names=("ant", "bee", "cat"))
