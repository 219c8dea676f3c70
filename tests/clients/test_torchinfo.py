"""torchinfo and fvcore: tables of layers, parameters and operations."""

import pytest

torchinfo = pytest.importorskip("torchinfo")


def test_summary(network, images):
    """`torchinfo.summary`: parameters and sizes"""
    found = torchinfo.summary(network, input_data=images, verbose=0)
    assert found.total_params == sum(p.numel() for p in network.parameters())
    assert str(found)
