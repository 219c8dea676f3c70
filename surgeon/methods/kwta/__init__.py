"""k-winners-take-all: the largest activations of each image stay, all others become 0.

Xiao, Zhong, Zheng, "Enhancing Adversarial Defense by k-Winners-Take-All" (ICLR 2020, arXiv 1905.10510).

It takes the place of an activation function. Of the N numbers y that the layer gives for one image,

    out_j = y_j   where y_j is among the k = ⌈γ N⌉ largest of y
    out_j = 0     elsewhere

Numbers equal to the k-th largest all stay. γ is the setting `share`. The function jumps wherever the order of two
numbers changes, and so it has dense discontinuities in the input.

This masks gradients: they say little about what a finite step does. Tramèr, Carlini, Brendel, Madry, "On Adaptive
Attacks to Adversarial Example Defenses" (2020, arXiv 2002.08347) broke it by attacks that follow estimates of the
gradient over many nearby points. It is here as a positive control: an evaluation that calls it robust is too weak.

Files: `operation.py` has what recipes name, `maths.py` the equation, `module.py` the layer.
"""

from surgeon.lazy import lazily
from surgeon.methods.kwta.operation import KWinnersTakeAll

_HERE = "surgeon.methods.kwta."
_LAYERS = {"KWinners": _HERE + "module", "k_winners": _HERE + "maths", "winners": _HERE + "maths"}
__all__ = ["KWinnersTakeAll", *_LAYERS]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
