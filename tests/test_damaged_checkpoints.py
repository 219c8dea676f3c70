"""What is said of a file that is no checkpoint."""

import pytest
import torch

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
