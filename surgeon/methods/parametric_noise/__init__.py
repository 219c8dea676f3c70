"""Parametric noise injection (PNI): noise on weights or outputs, whose size is learned, also in evaluation.

He, Rakin, Fan, "Parametric Noise Injection: Trainable Randomness to Improve Deep Neural Network Robustness against
Adversarial Attack" (CVPR 2019, arXiv 1811.09310).

With v the weights of a layer, or its outputs for one image, N numbers with mean μ, each call computes with

    ṽ = v + α η        η ~ N(0, σ²)        σ = √(1/N Σ (v − μ)²)

α is one trainable number a layer and starts at 0.25. σ and η count as constants in the gradient, so that ∂ṽ/∂v = 1 and
∂ṽ/∂α = η. The authors' code trains on each image, clean and attacked, each with half of the loss. Adversarial training
in which half of the images stay clean comes near: `--set training.adversary.clean_share=0.5`.

The noise is there at inference too. An attack that follows one draw's gradient is too weak: robustness must be judged
by attacks that average over draws. `surgeon evaluate` is told that outputs are random.

Here: σ is by 1/N, where the authors' code has 1/(N − 1); that of outputs is each image's own, so that images of a batch
do not depend on each other.

Files: `operation.py` has what recipes name, `maths.py` the equations, `module.py` the layers.
"""

from surgeon.lazy import lazily
from surgeon.methods.parametric_noise.operation import ParametricNoise

_HERE = "surgeon.methods.parametric_noise."
_LAYERS = {
    "NoisyOutputs": _HERE + "module",
    "noisy_weights": _HERE + "module",
    "parametric_noise": _HERE + "maths",
    "spread": _HERE + "maths",
}
__all__ = ["ParametricNoise", *_LAYERS]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
