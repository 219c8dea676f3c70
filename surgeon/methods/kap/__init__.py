"""Kernel Average Pooling (KAP): a moving average over a convolution's output channels.

Bashivan, Ibrahim, Dehghani and Ren, "Learning Robust Kernel Ensembles with Kernel Average Pooling".

The C channels at each position are laid out row by row on a sheet of r rows and q columns, r ≤ q the closest
factors of C, and averaged over a K × K window of the *sheet*, never over space (eq. 2; Algorithm 1 of the
appendix):

    KAP(z)[i] = mean of z[j] over the channels j in the window around i

Places outside the sheet have zero weight, so the divisor counts only real channels. Neighbouring kernels
learn to do the same, and each output is the mean of a small ensemble. In training, N(0, σ²) is added after
each pooling and to the image; in evaluation nothing is added.

Pooling is linear, with a matrix A over channels (eq. 3):

    KAP(conv(x; W, b)) = conv(x; A W, A b)

Other windows than the average are a setting, `kernel`: Gaussian, Mexican hat and learned ones (`kernels.py`). They are
not in the paper, and linear too.

So a trained network folds into one of the stock architecture, and training may pool the weights instead of
the activations. Kernel Max Pooling, the paper's control, is not linear and does not fold.

Files: `operation.py` has what recipes name, `places.py` what a site allows, `starts.py` the modules with the weights
that they start from, `maths.py` the pooling, `module.py` the layer, `kernels.py` and `weighted.py` windows with other
weights, `sheet.py` the geometry, `weights.py` the pooling of weights (folding and least-squares starts), `order.py` the
placement of channels on the sheet, `order_state.py` that placement in state dicts, `conv_pool.py` the pooling of a
convolution's weights instead of its outputs, `prenorm.py` a norm in between, `folding.py` the merging of a pooling into
its convolution, `paper.py` the paper's tables.
"""

from surgeon.lazy import lazily
from surgeon.methods.kap.operation import KernelAveragePooling

_HERE = "surgeon.methods.kap."
_LAYERS = {
    "KernelAveragePool": _HERE + "module",
    "PreNormKernelAveragePool": _HERE + "prenorm",
    "WeightedKernelPool": _HERE + "weighted",
    "kernel_average_pool": _HERE + "maths",
    "fold_weight": _HERE + "weights",
    "lstsq_weight": _HERE + "weights",
    "pool_weight": _HERE + "weights",
    "pooling_matrix": _HERE + "sheet",
    "sheet_shape": _HERE + "sheet",
}
__all__ = ["KernelAveragePooling", *_LAYERS]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
