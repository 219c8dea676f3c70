"""ExecuTorch: the program for small devices, lowered from torch.export and run by its own runtime."""

import pytest
import torch

pytest.importorskip("executorch")

from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime


@pytest.mark.parametrize("architecture", ["test_resnet"])
def test_program(network, recipe, images, tmp_path):
    """`to_edge_transform_and_lower`, run by its portable kernels"""
    if recipe == "wm-unsharp":
        pytest.xfail("its portable kernel of constant_pad_nd does not take a weight map's five dimensions")
    one = (images[:1],)
    with torch.no_grad():
        wanted = network(*one)
        program = to_edge_transform_and_lower(torch.export.export(network, one)).to_executorch()
    (tmp_path / "network.pte").write_bytes(program.buffer)
    (found,) = Runtime.get().load_program(tmp_path / "network.pte").load_method("forward").execute(one)
    assert (found - wanted).norm() < 1e-4 * wanted.norm()
