"""torch-pruning: channels taken out along the dependencies that it traces."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeonError

tp = pytest.importorskip("torch_pruning")


def pruned(network, images):
    """The network with half of its channels, but for its classes."""
    head = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    pruner = tp.pruner.MagnitudePruner(
        network,
        images[:1],
        importance=tp.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=[head],
    )
    pruner.step()
    return network


def check(network, images, before):
    with torch.no_grad():
        said = network(images)
    assert said.shape == (8, 5) and bool(said.isfinite().all())
    assert sum(p.numel() for p in network.parameters()) < before


def test_channels_are_taken_out(network, architecture, recipe, images):
    """`MagnitudePruner`: half of the channels of a rewritten network"""
    if architecture == "shufflenet_v2_x0_5":
        pytest.xfail("torch-pruning does not follow a channel shuffle, nor in the stock network")
    before = sum(p.numel() for p in network.parameters())
    if recipe in ("stock", "anl"):
        return check(pruned(network, images), images, before)
    with pytest.raises(
        (SurgeonError, IndexError)
    ):  # of the layer; of torch-pruning, which cannot tell a weight map's channels
        pruned(network, images)(images)
    pytest.xfail("a layer that belongs to its channels says so: fold before pruning")


@pytest.mark.parametrize("recipe", ["kap", "anl"])
def test_what_is_folded(network, architecture, recipe, images):
    """…and of what was folded"""
    if architecture == "shufflenet_v2_x0_5":
        pytest.xfail("torch-pruning does not follow a channel shuffle, nor in the stock network")
    if (architecture, recipe) == ("test_efficientnet", "kap"):
        pytest.xfail("KAP behind a depthwise convolution does not fold")
    network = surgeon.fold(network)
    before = sum(p.numel() for p in network.parameters())
    check(pruned(network, images), images, before)
