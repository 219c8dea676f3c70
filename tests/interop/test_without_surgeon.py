"""What surgeon writes, in processes that cannot import it."""

import json
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch

import surgeon
from tests.interop.conftest import SIZE

BLOCK = '''
import json, sys
class Nothing:
    """Refuses to find the packages named on the command line."""
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[2].split(","):
            raise ModuleNotFoundError("no " + name)
sys.meta_path.insert(0, Nothing())
try:
    import surgeon
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("surgeon was imported")
import numpy as np
folder = sys.argv[1]
images, wanted = np.load(folder + "/images.npy"), np.load(folder + "/outputs.npy")
def difference(found):
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
'''
TORCH = """
import timm, torch
model = timm.create_model("local-dir:" + folder + "/stock", pretrained=True).eval()
program = torch.export.load(folder + "/model.pt2").module()
images = torch.from_numpy(images)
with torch.no_grad():
    print(json.dumps({
        "timm": difference(model(images).numpy()), "torch-export": difference(program(images).numpy()),
        "class": type(model).__module__, "surgeon": [m for m in sys.modules if m.startswith("surgeon")],
    }))
"""
ONNX = """
import onnxruntime
session = onnxruntime.InferenceSession(folder + "/model.onnx", providers=["CPUExecutionProvider"])
print(json.dumps({
    "onnx": difference(session.run(None, {"images": images})[0]),
    "metadata": session.get_modelmeta().custom_metadata_map,
    "torch": [m for m in sys.modules if m.split(".")[0] in ("torch", "timm", "surgeon")],
}))
"""


def run(code, folder, without):
    command = [sys.executable, "-P", "-c", BLOCK + code, str(folder), without]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A KAP network that has learned a little, written in all three ways, and its own outputs."""
    folder = tmp_path_factory.mktemp("written")
    torch.manual_seed(0)
    images = torch.randn(3, *SIZE)
    network = timm.create_model("resnet18", num_classes=4, channels=(8, 8, 16, 16), layers=(1, 1, 1, 1))
    network = surgeon.apply(network, "kap", input_size=SIZE).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(8):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), torch.arange(3)).backward()
        optimizer.step()
    with torch.no_grad():
        outputs = network.eval()(images).numpy()
    assert outputs.std(0).min() > 1e-3  # what it says depends on the image
    surgeon.save(
        surgeon.fold(network), folder / "stock", model_args=dict(channels=(8, 8, 16, 16), layers=(1, 1, 1, 1))
    )
    surgeon.export(network, folder / "model.pt2", format="torch-export", input_size=SIZE)
    np.save(folder / "images.npy", images.numpy())
    np.save(folder / "outputs.npy", outputs)
    return folder, network


def test_a_stock_timm_process_and_an_exported_program_give_the_networks_outputs(written):
    found = run(TORCH, written[0], "surgeon")
    assert found["timm"] < 1e-5 and found["torch-export"] < 1e-5
    assert found["class"] == "timm.models.resnet" and found["surgeon"] == []


def test_onnxruntime_needs_neither_surgeon_nor_torch(written):
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    folder, network = written
    surgeon.export(network, folder / "model.onnx", input_size=SIZE)
    found = run(ONNX, folder, "surgeon,torch,timm")
    assert found["onnx"] < 1e-5 and found["torch"] == []
    assert found["metadata"]["recipe"] == "kap"
