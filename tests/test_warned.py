"""Warnings name the line of the caller's code, however many decorators lie between."""

import warnings

import torch
from torch import nn

import surgeon


def lines(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return {w.filename for w in caught if issubclass(w.category, UserWarning)}


def test_a_surgery_with_few_images_is_told_at_the_callers_line():
    model = surgeon.create_model("zoo/shallow2").eval()
    assert lines(lambda: surgeon.apply(model, "kap", calibration=torch.rand(4, 3, 32, 32))) == {__file__}


def test_a_network_without_a_name_is_told_at_the_callers_line(tmp_path):
    own = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten())
    assert lines(lambda: surgeon.save(own, tmp_path / "own")) == {__file__}


def test_a_call_from_the_package_itself_is_told_at_the_line_outside():
    from surgeon.tensors.resize import warn_resized

    assert lines(lambda: warn_resized("a layer", (4, 4), (8, 8))) == {__file__}
