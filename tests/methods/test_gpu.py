"""Whether a GPU's kernels are there."""

import importlib.util

import pytest
import torch

from surgeon.tensors import gpu
from surgeon.tensors.recording import plain

tries = gpu.has_kernels.__wrapped__


def test_without_triton_there_are_none(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not tries()


@pytest.mark.skipif(torch.cuda.is_available(), reason="here kernels can be made")
def test_where_triton_makes_none_a_warning_says_why():
    pytest.importorskip("triton")
    with pytest.warns(
        UserWarning, match="layers run without kernels of their own, since Triton cannot make them here: "
    ):
        assert not tries()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_there_are():
    assert tries()


def test_only_plain_tensors_outside_of_transforms_are_taken(monkeypatch):
    from torch._subclasses.fake_tensor import FakeTensorMode

    monkeypatch.setattr(gpu, "has_kernels", lambda: True)
    x = torch.zeros(2)
    assert plain(x) and plain(torch.nn.Parameter(x))
    assert not gpu.takes(x)  # on a CPU
    seen = []
    torch.func.vmap(lambda z: seen.append(plain(x)) or z)(x)
    torch.func.grad(lambda z: seen.append(plain(x)) or z.sum())(x)
    with torch.autograd.forward_ad.dual_level():
        seen.append(plain(x))
    with FakeTensorMode(allow_non_fake_inputs=True):
        seen.append(plain(x))
        assert not gpu.takes(torch.empty(2, device="cuda"))
    assert seen == [False] * 4
