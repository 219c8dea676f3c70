"""onnxruntime: the file that surgeon.export writes, against the network."""

import numpy as np
import pytest
import torch

import surgeon

onnxruntime = pytest.importorskip("onnxruntime")


def test_session(network, recipe, images, tmp_path):
    """`InferenceSession` of an exported file, for any number of images"""
    path = tmp_path / "network.onnx"
    surgeon.export(network, path, **({"input_size": (3, 32, 32)} if recipe == "stock" else {}))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n in (1, 5):
        with torch.no_grad():
            wanted = network(images[:n]).numpy()
        (found,) = session.run(None, {session.get_inputs()[0].name: images[:n].numpy()})
        assert np.linalg.norm(found - wanted) < 1e-4 * np.linalg.norm(wanted)
