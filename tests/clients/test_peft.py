"""PEFT: low-rank adapters (LoRA) on convolutions, with the surgery's layers behind them."""

import copy

import pytest
import torch
from torch import nn

import surgeon

peft = pytest.importorskip("peft")


def adapted(network):
    """LoRA on every convolution of one group that is called, and the head as it is."""
    names = [
        n
        for n, m in network.named_modules()
        if isinstance(m, nn.Conv2d) and m.groups == 1 and "base_layer" not in n
    ]
    return peft.get_peft_model(network, peft.LoraConfig(r=2, target_modules=names))


def test_adapters_train_and_merge(network, images, labels):
    """`get_peft_model` with LoRA on convolutions: trains, merges, and the merged network says the same"""
    network = network.double()
    x = images.double()
    model = adapted(network)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    first = last = None
    for _ in range(5):
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = first if first is not None else loss.item(), loss.item()
    assert last < first
    assert all(torch.equal(p, frozen[n]) for n, p in model.named_parameters() if n in frozen)
    model.eval()
    with torch.no_grad():
        said = model(x)
        merged = model.merge_and_unload()
        assert torch.allclose(merged(x), said, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("recipe", ["kap"])
def test_the_merged_network_folds(network, images):
    """…and what was merged folds, but for KAP on depthwise convolutions"""
    model = adapted(network.double()).eval()
    with torch.no_grad():
        said = model(images.double())
        folded = surgeon.fold(copy.deepcopy(model.merge_and_unload()), partial=True)
        assert torch.allclose(folded(images.double()), said, rtol=1e-9, atol=1e-9)
