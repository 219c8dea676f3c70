"""The plan: what a recipe will do to a network, or has done, as plain data. No torch here.

A plan is made by `surgeon.plan`, carried out by `surgeon.apply`, and from then on it is the record of
the surgery that saving, loading, folding, reverting and evaluating read.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from surgeon import html
from surgeon.selection import PassedOver
from surgeon.strict import LONGEST, Line, Prose

Effect = Literal["exact", "folds", "approximated", "destroyed"]
"""What a cut does to the function that the network computed in evaluation mode.

exact         nothing on the inference path changes
folds         layer and convolution together equal the stock convolution, up to rounding
approximated  close to the old function; the drift is measured when the cut is made
destroyed     unrelated to the old function; training is needed
"""
_WORST: tuple[Effect, ...] = ("exact", "folds", "approximated", "destroyed")
EFFECT_TEXT: dict[Effect, str] = {
    "exact": "kept exactly",
    "folds": "kept by folding",
    "approximated": "approximated",
    "destroyed": "destroyed (train before use)",
}


Number = Annotated[int, Field(ge=-(2**62), le=2**62)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**64)]
Operated = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][\w.\-]*(#[0-9]{1,4})?$")]
"""The name of an operation, with a number where it is the second of that name in a plan, or a later one."""
Side = Annotated[int, Field(ge=1, le=65_536)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_max_length=LONGEST)


class Growth(_Frozen):
    """What something costs: counts for one image (batch size 1)."""

    parameters: Number = 0
    buffers: Number = Field(default=0, description="numbers kept beside the parameters: masks, caches")
    flops: Number = Field(default=0, description="of one forward pass; a multiply-add counts as two")
    activations: Number = Field(default=0, description="numbers written by one forward pass")

    def __add__(self, other: Growth) -> Growth:
        return Growth(**{k: getattr(self, k) + getattr(other, k) for k in type(self).model_fields})


class Traits(_Frozen):
    """What an evaluation must know of an edit, without knowing its layers."""

    stochastic: Literal["never", "train", "always"] = "never"
    train_only: bool = Field(default=False, description="absent in evaluation mode")
    linear: bool = Field(default=True, description="linear in its input in evaluation mode")
    masked: bool = Field(default=False, description="some units are cut off from the gradient")

    def __or__(self, other: Traits) -> Traits:
        order = ("never", "train", "always")
        return Traits(
            stochastic=order[max(order.index(self.stochastic), order.index(other.stochastic))],
            train_only=self.train_only and other.train_only,
            linear=self.linear and other.linear,
            masked=self.masked or other.masked,
        )


class Edit(_Frozen):
    """One change at one site, by the name and settings of a registered operation: never by a class path."""

    site: Line
    operation: Operated = Field(
        description="key into the plan's operations: 'kap', or 'kap#2' for a second one"
    )
    layer: Line | None = Field(default=None, description="dotted name of the layer that is added, if one is")
    replaces: bool = Field(default=False, description="the module at the site gets a new one in its place")
    settings: dict[str, Any] = Field(default_factory=dict, description="sizes resolved for this site")
    effect: Effect = "exact"
    traits: Traits = Traits()
    folds: bool = True
    note: Prose = Field(default="", description="why it does not fold, or what is special here")
    growth: Growth = Growth()
    seed: Seed = 0


class Note(_Frozen):
    """A remark on a plan: a value first, a sentence second."""

    code: Line
    severity: Literal["info", "warning"] = "warning"
    text: Prose


class Drift(_Frozen):
    """How far the logits moved, measured on `images` images: original against rewritten, evaluation mode."""

    relative: float = Field(description="‖after − before‖ / ‖before‖ over all logits")
    agreement: float = Field(description="share of images whose largest logit is the same")
    images: int
    source: Literal["test", "calibration", "noise"] = Field(description="real images, or seeded noise")


class Trial(_Frozen):
    """A start that was tried on calibration images, and what it keeps on those that were held out of it."""

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
        """The start, and whose batch-norm statistics it has, where it has the stock network's."""
        return self.start if self.statistics else f"{self.start} with stock statistics"


class Choice(_Frozen):
    """How a start was chosen. Without trials nothing could be measured; `why` says so."""

    fitted: int = Field(description="calibration images that starts were taken from")
    held_out: int = Field(description="other calibration images, that said what each start keeps")
    trials: tuple[Trial, ...] = Field(default=(), description="in the order of their cost")
    why: Prose


class Execution(_Frozen):
    """What `apply` found out while cutting."""

    versions: dict[Line, Line] = Field(default_factory=dict)
    drift: Drift | None = None
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


class Plan(_Frozen):
    """The edits of one surgery, in the order in which they are made."""

    model: Line = Field(description="name the model was asked for by, or its class")
    fingerprint: Line = Field(description="hash of class, tensor names and shapes before the surgery")
    input_size: tuple[Side, ...] | None = Field(default=None, description="(C, H, W) or (C, T, H, W)")
    seed: Seed = 0
    recipe: str = Field(default="", pattern=r"^[\w .,+#()\-]*$", description="names of recipes, joined by +")
    operations: dict[Operated, dict[str, Any]] = Field(default_factory=dict, description="key → settings")
    edits: tuple[Edit, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    before: Growth = Growth()
    measured: bool = Field(
        default=False, description="whether FLOPs and activations of the network were counted"
    )
    notes: tuple[Note, ...] = ()
    execution: Execution | None = None

    @property
    def growth(self) -> Growth:
        """What all edits together add."""
        total = Growth()
        for edit in self.edits:
            total = total + edit.growth
        return total

    @property
    def traits(self) -> Traits:
        """The traits of all edits together: what an evaluation reads."""
        if not self.edits:
            return Traits()
        total = self.edits[0].traits
        for edit in self.edits[1:]:
            total = total | edit.traits
        return total

    @property
    def effect(self) -> Effect:
        """The worst of the edits' effects: what happens to the network's function."""
        return max((e.effect for e in self.edits), key=_WORST.index, default="exact")

    @property
    def folds(self) -> bool:
        """Whether every edit folds into a stock module."""
        return all(e.folds for e in self.edits)

    def __str__(self) -> str:
        """The plan in plain lines: what `surgeon plan` shows as a table, for a notebook or a log."""
        size = "×".join(map(str, self.input_size)) if self.input_size else "unknown"
        lines = [f"{self.recipe} on {self.model}, input {size}, seed {self.seed}"]
        width = max((len(e.site) for e in self.edits), default=0)
        for e in self.edits:
            what = f"+ {e.layer.rpartition('.')[2]}" if e.layer else "replaced"
            folds = "folds" if e.folds else f"does not fold: {e.note}"
            lines.append(f"  {e.site:{width}}  {e.operation}  {what}  {EFFECT_TEXT[e.effect]}  {folds}")
        reasons = Counter((p.operation, p.reason) for p in self.passed_over)
        lines += [f"  passed over {n} × {op}: {reason}" for (op, reason), n in reasons.items()]
        for name in ("parameters", "flops", "activations"):
            before, added = getattr(self.before, name), getattr(self.growth, name)
            if before:
                lines.append(f"{name}: {before:,} → {before + added:,} ({(before + added) / before:.3f}×)")
        lines.append(f"function: {EFFECT_TEXT[self.effect]}; folds: {'yes' if self.folds else 'no'}")
        if self.execution and self.execution.choice:
            lines.append(f"start: {self.execution.choice.why}")
        return "\n".join(lines + [f"{n.severity}: {n.text}" for n in self.notes])

    def _repr_html_(self) -> str:
        """What a notebook shows: the edits as a table, and the lines of `str(plan)` around them."""
        first, *more = str(self).splitlines()
        rows = [
            (e.site, e.operation, e.layer or "replaced", EFFECT_TEXT[e.effect], "yes" if e.folds else f"no: {e.note}")
            for e in self.edits
        ]  # fmt: skip
        head = ("site", "operation", "layer", "function", "folds")
        return html.table(rows, head=head, caption=first) + html.paragraphs(more[len(rows) :])

    def of(self, operation: str) -> tuple[Edit, ...]:
        """The edits of one operation, by its name ('kap') or its key ('kap#2')."""
        return tuple(e for e in self.edits if operation in (e.operation, e.operation.split("#")[0]))
