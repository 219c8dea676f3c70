"""Training rewritten networks: steps for any loop, and a loop of our own on accelerate (extra `train`)."""

from typing import TYPE_CHECKING

from surgeon.lazy import lazily
from surgeon.training.anneal import anneal
from surgeon.training.noise import adversarial_noise, set_noise
from surgeon.training.remap import Remapped, remap

__all__ = ["Remapped", "adversarial_noise", "anneal", "fit", "remap", "set_noise"]

if TYPE_CHECKING:
    from surgeon.training.loop import fit as fit

__getattr__, __dir__ = lazily(__name__, {"fit": "surgeon.training.loop"})
