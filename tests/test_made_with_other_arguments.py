"""A network that timm made with arguments which it does not remember: loading says what may be the cause."""

import pytest
import timm
import torch

import surgeon
from surgeon.errors import ArtifactWarning


def test_a_network_made_with_other_arguments_says_so(tmp_path):
    torch.manual_seed(0)
    narrow = timm.create_model("resnet18", num_classes=3, channels=[8, 8, 8, 8])
    with pytest.warns(ArtifactWarning):
        surgeon.save(narrow, tmp_path / "narrow")
    with pytest.raises(surgeon.SurgeonError, match="or made with other arguments: layer1.0.conv1.weight is"):
        surgeon.load(tmp_path / "narrow")
