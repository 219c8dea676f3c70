"""What is said of a file that is no checkpoint."""

import pytest
import torch

import surgeon
from surgeon.errors import ArtifactError


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
