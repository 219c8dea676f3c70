"""torchao: eight bits by weights alone, and by PT2E's quantisation of an exported program."""

import pytest
import torch

pytest.importorskip("torchao")

from torchao.quantization import Int8WeightOnlyConfig, quantize_
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)


def test_weights_of_eight_bits(network, images):
    """`quantize_(model, Int8WeightOnlyConfig())`"""
    with torch.no_grad():
        before = network(images)
        quantize_(network, Int8WeightOnlyConfig())
        after = network(images)
    assert not torch.equal(before, after)
    assert (after - before).norm() < 0.05 * before.norm()


def test_pt2e(network, images):
    """`prepare_pt2e`, `convert_pt2e` with the quantizer of x86"""
    quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
    with torch.no_grad():
        before = network(images)
        prepared = prepare_pt2e(torch.export.export(network, (images,)).module(), quantizer)
        prepared(images)
        after = convert_pt2e(prepared)(images)
    assert not torch.equal(before, after)
    assert (after - before).norm() < 0.25 * before.norm()
