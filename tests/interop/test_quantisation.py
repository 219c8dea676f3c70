"""A folded network in eight bits."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.verification import relative
from tests.interop.conftest import TINY

pytestmark = pytest.mark.filterwarnings("ignore")  # torch.ao says that it moves to torchao


@pytest.fixture(params=["kap", "anl"])
def folded(request, cut):
    return surgeon.fold(cut(request.param)).eval()


def test_dynamic_quantisation(folded, batch):
    from torch.ao.quantization import quantize_dynamic

    small = quantize_dynamic(folded, {nn.Linear}, dtype=torch.qint8)
    assert 0 < relative(small(batch[0]), folded(batch[0])) < 0.05


def test_static_quantisation_by_torchs_graph_mode(folded, batch):
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    x, _ = batch
    engine = next(
        e for e in ("x86", "fbgemm", "onednn", "qnnpack") if e in torch.backends.quantized.supported_engines
    )
    prepared = prepare_fx(folded, get_default_qconfig_mapping(engine), (x,))
    prepared(x)
    small = convert_fx(prepared)
    assert any("quantized" in type(m).__module__ for m in small.modules())
    assert relative(small(x), folded(x)) < 0.3


@pytest.mark.parametrize("recipe", ["kap"])
def test_dynamic_quantisation_by_onnxruntime(tiny_cut, images, tmp_path, recipe):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from onnxruntime.quantization import quantize_dynamic

    folded = surgeon.fold(tiny_cut(recipe))
    surgeon.export(folded, tmp_path / "whole.onnx", input_size=TINY)
    quantize_dynamic(tmp_path / "whole.onnx", tmp_path / "small.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx", providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"images": images.numpy()})
    assert 0 < relative(torch.from_numpy(output), folded(images)) < 0.1
