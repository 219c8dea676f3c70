"""Weight maps (WM): a layer with its own weight at every position, in place of a convolution.

Amer and Maul, "Weight Map Layer for Noise and Adversarial Attack Robustness".

Each pair of an input channel i and an output channel o has a map W[o, i] of the input's size. It multiplies
the input, and a fixed K × K filter of ones k sums the neighbourhood of each position (eq. 1 to 4):

    m[o, i] = W[o, i] ⊙ x[i]                                  (eq. 1)
    smoothing:  out[o] = Σ_i k * m[o, i] + b[o]               (eq. 2)
    unsharp:    out[o] = Σ_i (2 m[o, i] − k * m[o, i]) + b[o] (eq. 3, 4)

The bias b[o] is a map of the output's size. The paper does not divide k by its size; `normalize` does.
Stride, padding, dilation and groups are those of the convolution that is replaced.

The sum over input channels commutes with the fixed filter, so the maps are summed first, which is one matrix
product per position, and filtered once: the N × C_out × C_in × H × W tensor of the equations is never formed.

A map has a weight for each position, so it holds for one size of images, costs C_out · C_in · H · W
parameters, and equals no convolution: it does not fold.

Files: `operation.py` has what recipes name, `maths.py` the layer on tensors, `module.py` the layer,
`blend.py` a map that gradually takes a convolution's place, `fit.py` the start from data, `box.py` the
filter, `places.py` the memory layout for the matrix product, `gpu.py` and `kernels.py` the same on a GPU,
`paper.py` the paper's tables.
"""

from surgeon.lazy import lazily
from surgeon.methods.weight_map.operation import WeightMap

_HERE = "surgeon.methods.weight_map."
_LAYERS = {
    "WeightMap2d": _HERE + "module",
    "WeightMapBlend": _HERE + "blend",
    "weight_map": _HERE + "maths",
}
__all__ = ["WeightMap", *_LAYERS]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
