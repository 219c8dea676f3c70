"""Without a GPU the kernels run in Triton's interpreter, which computes with numpy what they say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.methods.kernels import DEVICE, INTERPRETED

OF_NUMPY = "only 0-dimensional arrays can be converted to Python scalars"
FILES = ("test_weight_map_gpu.py", "test_adversarial_gpu.py")


@pytest.mark.skipif(DEVICE == "cuda" or INTERPRETED, reason="the kernels run as they are")
@pytest.mark.parametrize("file", FILES)
def test_they_compute_what_the_layers_do(file):
    triton = pytest.importorskip("triton", reason="the kernels are written in Triton, which is not there")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0"]
    done = subprocess.run(
        [*command, str(Path(__file__).with_name(file))],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TRITON_INTERPRET": "1"},
    )
    if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 6) and OF_NUMPY in done.stdout:
        pytest.skip(f"the interpreter of Triton {triton.__version__} does not run with this numpy")
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(done.stdout.split(" passed")[0].split()[-1]) > 10
