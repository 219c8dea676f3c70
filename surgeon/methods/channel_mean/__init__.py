"""DropChannel-Mean: the channels that vary least become constant.

Behind a convolution with C output channels, of which channel c has mean μ_c and variance v_c over the calibration
images (all images, all positions),

    y_c = μ_c   for the k = round(share · C) channels with the smallest v_c
    y_c = x_c   for the others

A channel that hardly varies on natural images tells little of them, but an attacker can move it. Of equal variances
the lower channel number comes first. The layer is the same in training and in evaluation; no gradient passes the
chosen channels, so an attacker who knows that puts the identity in its place (BPDA).

It folds: the filters of the chosen channels become 0 and their biases μ_c; where the convolution has no bias, the
running mean of the batch norm that follows falls by μ_c instead.

Files: `operation.py` has what recipes name, `maths.py` the equation, `module.py` the layer, `folding.py` the stock
convolution, `paper.py` the attacks.
"""

from surgeon.lazy import lazily
from surgeon.methods.channel_mean.operation import ChannelMean

_HERE = "surgeon.methods.channel_mean."
_LAYERS = {"ConstantChannels": _HERE + "module", "least_varying": _HERE + "maths"}
__all__ = ["ChannelMean", *_LAYERS]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
