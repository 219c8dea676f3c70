"""Defective neurons: a fixed random part of the activations is constant, in training and in evaluation.

Luo et al., "Defective Convolutional Networks" (arXiv 1911.08432).

A binary mask M of shape (C, H, W) is drawn once and belongs to the network from then on:

    out = M ⊙ z + (1 − M) · c,   c = 0 by default

A share p of the neurons works, exactly round(p · C · H · W) of them; kept neurons are not rescaled. The mask
stands behind convolution and norm, before the activation, in the bottom layers, where a network detects
texture. The paper finds that such a network relies more on shape, and that attacks made on ordinary networks
transfer to it less.

`mode` draws single neurons, positions shared by all channels (`same`), or whole channels (`channel`). Masks
of one seed are nested: that of a smaller p is part of that of a larger one, so that p can be lowered during
training.

A mask over neurons holds for one size of images and has no stock equivalent. One over channels folds into the
batch norm before it.

Files: `operation.py` has what recipes name, `maths.py` draws masks, `module.py` is the layer, `zeroed.py` a
fast way to set numbers to zero, `paper.py` the paper's tables.
"""

from surgeon.lazy import lazily
from surgeon.methods.defective.operation import DefectiveNeurons

_HERE = "surgeon.methods.defective."
_LAYERS = {"DefectiveMask": _HERE + "module", "defective_mask": _HERE + "maths"}
__all__ = ["DefectiveNeurons", *_LAYERS]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
