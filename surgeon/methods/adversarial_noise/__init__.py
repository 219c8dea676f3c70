"""Adversarial noise layers: ANL and CANL, with LAT and Gaussian noise as controls.

You, Ye, Li, Xu and Wang, "Adversarial Noise Layer: Regularize Neural Network by Adding Noise".

In training, activations h get noise along the loss's own gradient; in evaluation the layer is the identity:

    h' = h + η,   η = r · s(h) · g / ‖g‖∞                     (eq. 4)
    r = clip(N(ε/2, (ε/4)²), 0, ε)                            (eq. 2)
    g = ∂J/∂h at η = 0                                        (eq. 3)

‖g‖∞ is the largest |g| of each sample, s(h) the standard deviation of the layer's activations over the batch.
The `source` says where g comes from:

    anl       this batch, by a first round that stops at the activations (Algorithm 1): two rounds a step
    canl      a cache: for each class, the gradient of one sample of the last batch with it (Algorithm 2)
    lat       ε · sign of the previous batch's gradient
    gaussian  no gradient: N(0, (ε/4)²)

The layers have no parameters and no buffers, so a trained network is a stock checkpoint. They need a training
step that sets the phase and the labels: `surgeon.training.adversarial_noise`.

Files: `operation.py` has what recipes name, `named_layers.py` the layers by source, `base.py` what a training step
asks of each layer, `batch.py` what a layer holds for one batch, `gradient_noise.py` eq. 4 for ANL and CANL,
`anl.py`, `canl.py` and `controls.py` the layers, `maths.py` the noise on tensors, `class_cache.py` CANL's
cache, `hooks.py` the hooks on gradients, `gpu.py`, `kernels.py` and `sending.py` the same on a GPU,
`paper.py` the paper's tables.
"""

from surgeon.lazy import lazily
from surgeon.methods.adversarial_noise.operation import AdversarialNoiseLayers

_HERE = "surgeon.methods.adversarial_noise."
_LAYERS = {
    "ANL": _HERE + "anl",
    "CANL": _HERE + "canl",
    "LAT": _HERE + "controls",
    "GaussianControl": _HERE + "controls",
    "NoiseLayer": _HERE + "base",
    "make_layer": _HERE + "named_layers",
    "noise_along": _HERE + "maths",
    "draw_magnitude": _HERE + "maths",
}
__all__ = ["AdversarialNoiseLayers", *_LAYERS]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
