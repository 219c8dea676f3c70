"""What AutoAttack itself would warn of, measured. No torch here.

Source: the checks of AutoAttack (github.com/fra31/auto-attack: autoattack/checks.py, flags_doc.md).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

RANDOMIZED, PASSES = 1e-4, 5
"""The largest L2 difference of normalised logits between passes that AutoAttack takes for deterministic; its passes."""
SQUARE = 0.002
"""By how much Square may lower the accuracy that the attacks before it leave."""


class Flags(BaseModel):
    """AutoAttack's flags of one network, measured on a few images.

    Examples:
        >>> from surgeon.results.flags import Flags
        >>> measured = dict(images=8, started=8, classes=10, difference=0.0, changed=False, probabilities=False)
        >>> Flags(zero_gradients=0, asked=(), **measured).randomized
        False
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int = Field(description="images that were looked at")
    started: int = Field(description="of these, images that are right, from which an attack starts")
    classes: int
    difference: float = Field(description="largest L2 difference of normalised logits between five passes")
    changed: bool = Field(description="whether the number of right images differs between passes")
    zero_gradients: int = Field(description="starting points of APGD at which its DLR loss has no gradient")
    asked: tuple[str, ...] = Field(
        description="functions by which gradients are computed that a forward pass called: grad, backward, _make_grads"
    )
    probabilities: bool = Field(description="whether the outputs are a distribution")

    @property
    def randomized(self) -> bool:
        """Whether AutoAttack takes the network for randomised."""
        return self.changed or self.difference > RANDOMIZED

    @property
    def dynamic(self) -> bool:
        """Whether AutoAttack takes the network for one that optimises at inference."""
        return bool(self.asked)
