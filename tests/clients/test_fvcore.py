"""fvcore: floating-point operations, by its own trace."""

import pytest

pytest.importorskip("fvcore")

from fvcore.nn import FlopCountAnalysis, parameter_count


def test_operations(network, stock, recipe, images):
    """`FlopCountAnalysis`, `parameter_count`"""
    one = images[:1]
    found, before = (
        FlopCountAnalysis(m, one).unsupported_ops_warnings(False).total() for m in (network, stock)
    )
    assert found > 0
    if recipe in ("stock", "anl", "defective"):
        assert found == before, "no product is added"
    assert parameter_count(network)[""] == sum(p.numel() for p in network.parameters())
