"""A size whose first number is not the channels: the message names the one that was meant."""

import pytest

import surgeon
from surgeon.errors import SurgeryError


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ((1, 3, 32, 48), r"without the batch\): write input_size=\(3, 32, 48\)"),
        ((32, 48, 3), r"channels come first\): write input_size=\(3, 32, 48\)"),
        ((1, 32, 48), r"not of 1: write input_size=\(3, 32, 48\)"),
    ],
)
def test_the_size_that_was_meant_is_named(given, meant):
    model = surgeon.create_model("resnet10t", num_classes=3)
    for do in (surgeon.plan, surgeon.apply):
        with pytest.raises(SurgeryError, match=meant):
            do(model, "noise", input_size=given)
    assert surgeon.plan(model, "noise", input_size=(3, 32, 48)).edits
