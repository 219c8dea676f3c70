"""Cuts that change nothing, so that what a rewritten network does can be compared with its stock network.

Noise of no size, pooling that leaves its input as it is, masks that keep every neuron, and weight maps that hold a
convolution of 1×1 at each position. Their layers are in the graphs as any other's.
"""

import torch

import surgeon
from surgeon.methods.defective.module import DefectiveMask
from surgeon.methods.kap.module import KernelAveragePool
from surgeon.methods.weight_map.module import WeightMap2d
from surgeon.tensors.convolution import effective_weight

NEUTRAL = {
    "noise": {"op": "noise", "sigma": 0.1},
    "kap": {"op": "kap", "kernel_size": 3, "dims": 1, "sigma": 0.0},
    "defective": {"op": "defective", "keep": 0.5},
    "weight-map": {"op": "weight-map", "mode": "smoothing", "select": {"kernel": "1"}},
}
EVERYWHERE = ("noise", "kap", "defective")
"""Those for networks without convolutions of 1×1."""


@torch.no_grad()
def neutral(stock, name, input_size):
    """The network cut by a method, with values at which its layers compute what stood there; in evaluation mode."""
    cut = surgeon.apply(stock, NEUTRAL[name], input_size=input_size, trained=False, seed=1).eval()
    known = 0
    for path, module in cut.named_modules():
        if hasattr(module, "sigma"):
            module.sigma = 0.0
        if isinstance(module, KernelAveragePool):
            module.alpha.fill_(0.0)
        elif isinstance(module, DefectiveMask):
            module.mask.fill_(True)
        elif isinstance(module, WeightMap2d):
            old = stock.get_submodule(path)
            module.by_channels().copy_(effective_weight(old).expand(-1, -1, *module.input_size))
            if old.bias is not None:
                module.bias.copy_(old.bias[:, None, None].expand_as(module.bias))
        else:
            continue
        known += 1
    assert known or name == "noise"
    return cut
