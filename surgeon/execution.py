"""What was found out while a plan was carried out, as plain data: effect, starts, searches. Imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from surgeon.effects import Accuracy, Drift, Effect
from surgeon.strict import Line, Prose, Record

Operated = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][\w.\-]*(#[0-9]{1,4})?$")]
"""The name of an operation, with a number where it is the second of that name in a plan, or a later one."""


class Trial(Record):
    """A start that was tried on calibration images, and its drift on held-out ones.

    Attributes:
        start: Name of the start that was tried, or one per operation: 'kap lstsq, defective random'. Sites that it
            does not suit keep another; `Execution.unfitted` names them.
        statistics: Images that batch-norm statistics were re-estimated on; 0 if they are the stock network's.
        drift: The drift on the held-out images.
        used: Whether this start was chosen.

    Examples:
        >>> drift = Drift(relative=0.1, agreement=0.98, images=64, source="calibration")
        >>> Trial(start="lstsq", statistics=0, drift=drift).label
        'lstsq with stock statistics'
    """

    start: Line = Field(
        description="of each operation: 'sequential', or 'kap lstsq, defective random' for several"
    )
    statistics: int = Field(
        description="calibration images that batch norms measured; 0: they keep the stock network's"
    )
    drift: Drift
    used: bool = False

    @property
    def label(self) -> str:
        """The start, with a note if it keeps the stock network's batch-norm statistics."""
        return self.start if self.statistics else f"{self.start} with stock statistics"


class Choice(Record):
    """How a start was chosen. Without trials nothing could be measured; `why` says so.

    Attributes:
        fitted: Calibration images that starts were fitted to.
        held_out: Other calibration images, on which starts were compared.
        trials: The trials, cheapest first.
        why: The reason in words.

    Examples:
        >>> Choice(fitted=0, held_out=0, why="no calibration images").trials
        ()
    """

    fitted: int = Field(description="calibration images that starts were taken from")
    held_out: int = Field(description="other calibration images, that said what each start keeps")
    trials: tuple[Trial, ...] = Field(default=(), description="in the order of their cost")
    why: Prose


class Searched(Record):
    """How a setting was chosen on calibration images: the largest value whose cost keeps to the budget.

    Attributes:
        setting: Name of the setting.
        budget: Largest share of predictions that may differ from those before the search, with the first value.
        images: Number of images that the costs were measured on.
        curve: (value, cost) of each value that was tried, rising; a cost is a share of predictions.
        value: The chosen value.

    Examples:
        >>> tried = ((0.0, 0.0), (0.1, 0.004), (0.2, 0.03))
        >>> Searched(setting="alpha", budget=0.01, images=64, curve=tried, value=0.1).value
        0.1
    """

    setting: Line
    budget: float
    images: int
    curve: tuple[tuple[float, float], ...]
    value: float


class Execution(Record):
    """What `apply` found out while cutting.

    Attributes:
        versions: Versions of Python and of the libraries, by name.
        effect: What the cut was measured to do to the function (`surgeon.effects.measured_effect`).
        drift: How far the logits moved, or None if that was not measured.
        accuracy: Right images before and after, where labels were given.
        statistics: Calibration images that batch-norm statistics were re-estimated on.
        residuals: Relative error of least-squares starts, by site.
        unfitted: Why sites keep their initial start, which their edits' settings name, instead of being fitted to
            images, by site.
        choice: How the start was chosen, if there were calibration images.
        searches: How settings were chosen on calibration images, by operation.
        observed: Number of images that statistics by channel were taken from.

    Examples:
        >>> import surgeon
        >>> result = surgeon.apply(surgeon.create_model("zoo/shallow1"), "kap").surgery.execution
        >>> result.effect, result.choice, sorted(result.versions)[:2]
        ('destroyed', None, ['python', 'surgeon'])
    """

    versions: dict[Line, Line] = Field(default_factory=dict)
    effect: Effect | None = Field(default=None, description="what the cut was measured to do to the function")
    drift: Drift | None = None
    accuracy: Accuracy | None = Field(default=None, description="where labels were given")
    statistics: int = Field(
        default=0, description="calibration images that batch-norm statistics were taken from"
    )
    residuals: dict[Line, float] = Field(
        default_factory=dict, description="site → relative error of a least-squares start on the weights"
    )
    unfitted: dict[Line, Line] = Field(
        default_factory=dict,
        description="site → why it keeps the start that it was built with, and was not fitted to images",
    )
    choice: Choice | None = Field(
        default=None, description="of the start, where there were calibration images"
    )
    searches: dict[Operated, Searched] = Field(
        default_factory=dict, description="operation → how a setting was chosen on calibration images"
    )
    observed: int = Field(
        default=0, description="calibration images that statistics by channel were taken from"
    )
