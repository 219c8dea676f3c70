"""Training rewritten networks: building blocks for any training loop, and a complete loop on accelerate.

For your own loop: `adversarial_noise` around each step, `auxiliary_norms` around calls with attacked images,
`set_noise` and `anneal` between epochs, and `remap` for an optimizer that was built before the surgery. `fit` is
the complete loop (extra `train`).
"""

from typing import TYPE_CHECKING

from surgeon.lazy import lazily
from surgeon.tensors.auxiliary import auxiliary_norms
from surgeon.training.anneal import anneal
from surgeon.training.remap import Remapped, remap
from surgeon.training.two_rounds import adversarial_noise, set_noise

__all__ = ["Remapped", "adversarial_noise", "anneal", "auxiliary_norms", "fit", "remap", "set_noise"]

if TYPE_CHECKING:
    from surgeon.training.loop import fit as fit

__getattr__, __dir__ = lazily(__name__, {"fit": "surgeon.training.loop"})
