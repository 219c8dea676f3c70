"""Adversarial noise layers: ANL and CANL, with LAT and Gaussian noise as controls.

You, Ye, Li, Xu and Wang, "Adversarial Noise Layer: Regularize Neural Network by Adding Noise".

In training, activations h get noise along the loss's own gradient; in evaluation the layer is the identity:

    h' = h + η,   η = r · s(h) · g / ‖g‖∞                     (eq. 4)
    r = clip(N(ε/2, (ε/4)²), 0, ε)                            (eq. 2)
    g = ∂J/∂h at η = 0                                        (eq. 3)

‖g‖∞ is the largest |g| of each sample, s(h) the standard deviation of the layer's activations over the batch. Where
g comes from is the `source`:

    anl       this batch, by a first round that stops at the activations (Algorithm 1): two rounds a step
    canl      a cache: of each class, the gradient of one random sample of the last batch that had it (Algorithm 2)
    lat       ε · sign of the previous batch's gradient
    gaussian  none: N(0, (ε/4)²)

The layers have no parameters and no buffers, so a trained network is a stock checkpoint. They need a training step that
tells them the phase and the labels: `surgeon.training.adversarial_noise`.

`operation.py` is what recipes name, `sources.py` the layers by source. `base.py` is what a training step asks of each,
`batch.py` what a layer holds for one batch, `gradient_noise.py` eq. 4 for ANL and CANL, `anl.py`, `canl.py` and
`controls.py` the layers. `maths.py` is the noise on tensors, `class_cache.py` CANL's cache, `hooks.py` sees gradients
pass, `gpu.py`, `kernels.py` and `sending.py` do the same on a GPU, `paper.py` has the paper's tables.
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
    "make_layer": _HERE + "sources",
    "noise_along": _HERE + "maths",
    "draw_magnitude": _HERE + "maths",
}
__all__ = ["AdversarialNoiseLayers", *_LAYERS]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
