"""Training rewritten networks: steps for any loop, and a loop of our own on accelerate (extra `train`)."""

from typing import Any

from surgeon.training.anneal import anneal
from surgeon.training.noise import adversarial_noise, set_noise
from surgeon.training.remap import Remapped, remap

__all__ = ["Remapped", "adversarial_noise", "anneal", "fit", "remap", "set_noise"]


def __getattr__(name: str) -> Any:
    if name == "fit":
        from surgeon.training.loop import fit

        return fit
    raise AttributeError(f"module 'surgeon.training' has no attribute {name!r}")
