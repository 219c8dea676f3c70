"""The residual network for CIFAR-10 takes the public weights, and is the network that they were trained in."""

import pytest
import torch

import surgeon
from surgeon.data import labelled
from surgeon.models.checkpoints import read_weights


@pytest.fixture(scope="module")
def model(shared):
    return surgeon.create_model(
        "zoo/cifar_resnet20", weights=str(shared / "weights" / "resnet20-12fca82f.th")
    ).eval()


def test_names_and_shapes_are_those_of_the_public_weights(model, shared):
    weights = read_weights(shared / "weights" / "resnet20-12fca82f.th")
    own = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert weights.keys() - {k for k in weights if k.endswith("num_batches_tracked")} == own.keys()
    assert all(torch.equal(weights[k], v) for k, v in own.items())


def test_it_recognises_as_many_images_as_were_measured(model, shared):
    pytest.importorskip("pyarrow")
    test = labelled(shared / "data" / "cifar10-jpeg" / "test-00000-of-00001.parquet", (3, 32, 32), count=1000)
    mean, std = (torch.tensor(model.pretrained_cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        found = torch.cat([model(x).argmax(1) for x in ((test.x - mean) / std).split(500)])
    assert abs(int((found == test.y).sum()) - 824) <= 1  # and 1644 of the first 2000
