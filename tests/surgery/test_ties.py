"""Parameters that modules have in common, when what is made of them is folded."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import FoldError


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 4, 1),
    ).double()


def test_one_parameter_stays_one_where_both_fold_alike():
    cut = surgeon.apply(net(), {"op": "kap", "start": "naive"}, input_size=(16, 8, 8)).eval()
    first, second = (cut.get_submodule(n) for n in "02")
    second.weight = first.weight
    folded = surgeon.fold(cut)
    assert folded[0].weight is folded[2].weight and folded[0].bias is not folded[2].bias
    x = torch.randn(2, 16, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(folded(x), cut(x), rtol=1e-10, atol=1e-12)


def test_where_they_fold_to_different_ones_it_is_said():
    recipe = {"op": "kap", "start": "naive", "select": {"include": ["0"]}}
    cut = surgeon.apply(net(), recipe, input_size=(16, 8, 8)).eval()
    cut.get_submodule("2").weight = cut.get_submodule("0").weight
    x = torch.randn(2, 16, 8, 8, dtype=torch.float64)
    with pytest.warns(UserWarning, match="0.weight was one parameter of several modules"):
        folded = surgeon.fold(cut)
    torch.testing.assert_close(folded(x), cut(x), rtol=1e-10, atol=1e-12)


def test_what_computes_a_weight_is_named_where_nothing_else_differs():
    cut = surgeon.apply(net(), {"op": "kap", "start": "naive"}, input_size=(16, 8, 8)).eval()
    conv = cut.get_submodule("0")
    raw = conv.weight
    del conv.weight
    conv.register_parameter("raw", raw)
    conv.weight = 2 * raw  # as a hook of the whole network may
    with pytest.raises(
        FoldError, match=r"with raw 16×16×3×3 and without weight 16×16×3×3 .*what computes its weights"
    ):
        surgeon.fold(cut)
