"""One diagnostic of an evaluation, as data. No torch here."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from surgeon.numerals import percent


class Check(BaseModel):
    """One diagnostic: the measured values, the rule, and whether it failed.

    Accuracies are shares of the images.

    Examples:
        >>> from surgeon.evaluation import Check
        >>> check = Check(code="losses", measured={"APGD-CE": 0.312}, rule="more than half", failed=False)
        >>> check.figures
        ('APGD-CE 31.2 %',)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    measured: dict[str, float]
    plain: tuple[str, ...] = Field(default=(), description="what of `measured` is not a share of the images")
    rule: str = Field(description="when it fails")
    failed: bool
    reason: str = Field(default="", description="what a failure means")
    p: float | None = Field(
        default=None,
        description="of a check that compares attacks, corrected for the number of its comparisons; "
        "None for another check",
    )
    advice: str = Field(
        default="", description="what to do where nothing failed, but something should be done"
    )

    @property
    def figures(self) -> tuple[str, ...]:
        """The measured values as text: `APGD-CE 31.2 %`, `images 128`."""
        return tuple(f"{k} {f'{v:.3g}' if k in self.plain else percent(v)}" for k, v in self.measured.items())
