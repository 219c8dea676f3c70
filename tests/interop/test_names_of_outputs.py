"""Outputs of an exported file are called what the network calls them, and what the file does not take is named."""

import warnings

import pytest
import torch
from torch import nn

import surgeon
from surgeon.store.exporting.writing import names_of_outputs

SIZE = (3, 8, 8)


class Several(nn.Module):
    """Gives what its `shape` makes of two tensors, and may be given `meta`."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.conv, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.head, self.aux = nn.Linear(16, 5), nn.Linear(16, 5)

    def forward(self, x, meta=None):
        x = self.norm(self.conv(x)).relu().mean((2, 3))
        if meta is not None:
            x = x * meta
        return self.shape(self.head(x), self.aux(x))


def exported(shape, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    model = surgeon.apply(Several(shape).eval(), "anl", input_size=SIZE).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = surgeon.export(model, tmp_path / "several.onnx")
    session = onnxruntime.InferenceSession(done.path, providers=["CPUExecutionProvider"])
    return model, done, session


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        (lambda y, aux: {"logits": y, "aux": aux}, ["logits", "aux"]),
        (
            lambda y, aux: {"out": y, "parts": {"mean": aux, "more": [y * 2]}},
            ["out", "parts.mean", "parts.more.0"],
        ),
        (lambda y, aux: {"logits": y}, ["logits"]),
        # names that the graph has for values of its own
        (lambda y, aux: {"relu": y, "mean": aux}, ["output.relu", "output.mean"]),
        (lambda y, aux: {"conv.weight": y, "images": aux}, None),
    ],
    ids=["two", "nested", "one", "inner", "taken"],
)
def test_outputs_of_a_mapping_are_called_by_its_keys(shape, names, tmp_path):
    model, done, session = exported(shape, tmp_path)
    given = [o.name for o in session.get_outputs()]
    if names is None:
        assert given[1] == "output.images" and len(set(given)) == 2
        return
    assert [n.removeprefix("output.") for n in given] == [n.removeprefix("output.") for n in names]
    images = torch.randn(3, *SIZE)
    with torch.no_grad():
        wanted = torch.utils._pytree.tree_leaves(model(images))
    for name, tensor in zip(given, wanted, strict=True):
        assert torch.allclose(
            torch.from_numpy(session.run([name], {"images": images.numpy()})[0]), tensor, atol=1e-5
        )
    assert done.left_out == ("meta",)


def test_one_tensor_under_two_keys_keeps_its_file_whole(tmp_path):
    _, done, session = exported(lambda y, aux: {"logits": y, "again": y, "aux": aux}, tmp_path)
    assert done.check.ok and len({o.name for o in session.get_outputs()}) >= 2


def test_without_keys_there_are_no_names():
    y = torch.ones(1)
    assert names_of_outputs((y, y)) == [] and names_of_outputs({1: y, "1": y}) == []
    assert names_of_outputs([{"a": y}, None]) == ["0.a"]


def test_what_a_file_does_not_take_is_in_the_line_of_the_command(tmp_path):
    from tests.cli.commandline import invoke

    folder = surgeon.save(surgeon.create_model("timm/test_vit", num_classes=5), tmp_path / "vit")
    code, printed, told = invoke("export", folder, "--format", "torch-export", "-o", tmp_path / "vit.pt2")
    assert code == 0 and "takes images alone and not attn_mask" in printed, printed + told
