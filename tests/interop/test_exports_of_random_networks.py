"""A network that is random at inference cannot be compared with its file, and that is what is said."""

import pytest
import torch

import surgeon
from surgeon.errors import VerificationError


def test_a_network_that_is_random_at_inference_is_told_as_that(tmp_path):
    torch.manual_seed(0)
    network = surgeon.create_model("zoo/lenet5").eval()
    cut = surgeon.apply(network, "parametric-noise", input_size=(1, 28, 28)).eval()
    with pytest.raises(
        VerificationError, match=r"random at inference \(parametric-noise\).*check=False writes it"
    ):
        surgeon.export(cut, tmp_path / "it.pt2", format="torch-export")
    assert not (tmp_path / "it.pt2").exists()
