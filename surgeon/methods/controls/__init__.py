"""Controls: what a method's gain must be compared with, and small changes that go with the methods.

    identity      a layer that does nothing: what the rewriting itself costs and changes
    noise         N(0, σ²) after each convolution and at the input, in training: NT(σ) of the KAP paper
    smooth-init   KAP's averaged kernels as a start, without pooling: what the start alone gives
    input-scale   one learned map that multiplies the image, from the weight-map paper
    small-image   a stem for images of 32 pixels in place of one for 224

Each operation is one file; `noise_layer.py` and `input_scale_layer.py` are the modules of two of them.
"""

from surgeon.lazy import lazily
from surgeon.methods.controls.identity import Identity
from surgeon.methods.controls.input_scale import InputScaleMap
from surgeon.methods.controls.noise import NoiseTraining
from surgeon.methods.controls.small_image import SmallImageStem
from surgeon.methods.controls.smooth_init import SmoothInit

_HERE = "surgeon.methods.controls."
_LAYERS = {"GaussianNoise": _HERE + "noise_layer", "InputScale": _HERE + "input_scale_layer"}
__all__ = ["NoiseTraining", "Identity", "InputScaleMap", "SmallImageStem", "SmoothInit", *_LAYERS]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
