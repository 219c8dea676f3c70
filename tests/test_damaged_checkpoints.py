"""What is said of a file that is no checkpoint."""

import pytest
import torch
from safetensors.torch import save_file

import surgeon
from surgeon.errors import ArtifactError, ArtifactWarning


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty$"),
        (b"epoch loss\n1 0.5\n", "it begins as no file of torch.save$"),
        (None, "it begins as one of torch, and cannot be read to its end$"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, content, says):
    network = surgeon.create_model("zoo/lenet5")
    path = tmp_path / "w.pth"
    torch.save(network.state_dict(), path)
    path.write_bytes(path.read_bytes()[:20_000] if content is None else content)
    with pytest.raises(ArtifactError, match=says):
        surgeon.load_weights(network, path)


def test_a_file_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    path = tmp_path / "w.pth"
    path.write_bytes(b"x")

    def refuse(*given, **more):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(ArtifactError, match="cannot be read: Permission denied$"):
        surgeon.load_weights(surgeon.create_model("zoo/lenet5"), path)


def flipped(path, record):
    """Turn one bit of a record of a file."""
    import zipfile

    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.read(next(i for i in archive.infolist() if i.filename.endswith(record)))
    content[content.index(at) + len(at) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("sums", [True, False])
def test_bytes_that_are_not_those_that_were_written_are_told(tmp_path, sums):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(sums)
    try:
        torch.save(surgeon.create_model("zoo/lenet5").state_dict(), tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    if sums:
        surgeon.load_weights(surgeon.create_model("zoo/lenet5"), tmp_path / "w.pth")
        flipped(tmp_path / "w.pth", "data/0")
    with pytest.warns(ArtifactWarning, match=r"data/0 has other bytes than its sum says|has other bytes"):
        surgeon.load_weights(surgeon.create_model("zoo/lenet5"), tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["net.onnx", "net.pt2", "program.pt", "script.pt"])
def test_an_export_is_told_as_what_it_is_and_no_checkpoint(tmp_path, name):
    from tests.cli.commandline import invoke

    network, path = surgeon.create_model("zoo/lenet5").eval(), tmp_path / name
    if name == "script.pt":
        torch.jit.trace(network, torch.rand(1, 1, 28, 28)).save(path)
    elif name == "net.onnx":
        path.write_bytes(b"\x08\x08")
    else:
        torch.export.save(torch.export.export(network, (torch.rand(2, 1, 28, 28),)), tmp_path / "net.pt2")
        (tmp_path / "net.pt2").rename(path)
    kind = {"net.onnx": "an ONNX file", "script.pt": "a TorchScript file"}.get(name, "a file of torch.export")
    with pytest.raises(ArtifactError, match=f"{name} is {kind}, an export and no checkpoint"):
        surgeon.load_weights(network, path)
    out = tmp_path / "out"
    for args in (
        ["convert", "kap", path, "--data=digits", "-o", out],
        ["convert", "kap", path, "--model=zoo/lenet5", "--data=digits", "-o", out],
        ["evaluate", "zoo/lenet5", "--weights", path, "--data=digits", "-o", out],
    ):
        code, _, words = invoke(*args)
        assert code == 2 and f"is {kind}, an export and no checkpoint" in words, (args, words)
        assert not out.exists()


@pytest.mark.parametrize("suffix", ["pth", "pt", "bin", "ckpt"])
def test_a_file_of_safetensors_is_read_under_the_names_of_the_other_kind(tmp_path, suffix):
    network, other = (surgeon.create_model("zoo/lenet5") for _ in range(2))
    path = tmp_path / f"w.{suffix}"
    save_file(network.state_dict(), path)
    surgeon.load_weights(other, path)
    assert torch.equal(network.fc3.weight, other.fc3.weight)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="is damaged or no safetensors file"):
        surgeon.load_weights(other, path)


@pytest.mark.parametrize("archive", [True, False])
def test_a_file_of_torch_that_is_called_safetensors_is_told_with_its_kind(tmp_path, archive):
    network = surgeon.create_model("zoo/lenet5")
    path = tmp_path / "w.safetensors"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=archive)
    with pytest.raises(ArtifactError, match=r"begins as a file of torch\.save.*call it w\.pth"):
        surgeon.load_weights(network, path)
