"""McNemar's test takes booleans, in whatever holds them, and nothing that is merely true or false to Python."""

import numpy
import pytest
import torch

from surgeon.errors import ArgumentError
from surgeon.evaluation import mcnemar

pytest.importorskip("scipy")
ONE, OTHER = [True, True, False, False], [True, False, True, True]


@pytest.mark.parametrize(
    "held",
    [
        tuple,
        numpy.array,
        torch.tensor,
        lambda v: (x for x in v),
        lambda v: [numpy.bool_(x) for x in v],
        lambda v: list(torch.tensor(v)),
        lambda v: dict(enumerate(v)).values(),
    ],
)
def test_booleans_in_anything_that_holds_them(held):
    assert mcnemar(held(ONE), held(OTHER)) == mcnemar(ONE, OTHER)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([3, 1, 0, 9], r"first\[0\]=3 is no boolean; give for each image whether"),
        ([True, 0.0, True, True], r"first\[1\]=0.0 is no boolean"),
        ([True, None, True, True], r"first\[1\]=None"),
        (["a", "b"], r"first\[0\]='a'"),
        ("1101", "first is a str"),
        (None, "first is a NoneType"),
        (torch.tensor([3, 1]), r"first\[0\]=3"),
        (numpy.array([0.5, 1.0]), r"first\[0\]=0.5"),
        (torch.ones(2, 2, dtype=torch.bool), "first has 2 axes"),
        (numpy.bool_(True), "first has 0 axes"),
        (numpy.ones((2, 2), dtype=bool), "first has 2 axes"),
        ([], "0 and 4 images cannot be compared"),
    ],
)
def test_what_is_no_boolean_is_refused(values, told):
    with pytest.raises(ArgumentError, match=told):
        mcnemar(values, OTHER)
    if not isinstance(values, list) or values:
        with pytest.raises(ArgumentError, match=told.replace("first", "second", 1)):
            mcnemar(OTHER, values)
