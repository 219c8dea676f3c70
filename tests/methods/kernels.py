"""Where the kernels are tested: on a GPU, or in Triton's interpreter in a process of its own."""

import os

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"
needs_kernels = pytest.mark.skipif(
    DEVICE == "cpu" and not INTERPRETED, reason="no GPU; test_kernels_interpreted.py runs it without one"
)
needs_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
DTYPES = [
    pytest.param(torch.float32, id="float32"),
    pytest.param(torch.float16, id="float16"),
    pytest.param(
        torch.bfloat16,
        id="bfloat16",
        marks=pytest.mark.skipif(
            INTERPRETED, reason="numpy, which the interpreter computes with, has no bfloat16"
        ),
    ),
]
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.2e-2}


def off(found, expected):
    """||found - expected|| / ||expected||, in float64."""
    expected = expected.double()
    return ((found.double() - expected).norm() / expected.norm()).item()
