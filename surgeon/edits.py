"""The plan: what a recipe will do to a network, or has done, as plain data. Imports no torch.

A plan is made by `surgeon.plan` and carried out by `surgeon.apply`. From then on it is the record of the
surgery, which saving, loading, folding, reverting and evaluating read.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import Field

from surgeon import html
from surgeon.effects import AIMED, EFFECT_TEXT, Effect, worst
from surgeon.execution import Execution, Operated
from surgeon.numerals import percent
from surgeon.selection import PassedOver
from surgeon.strict import Line, Prose, Record

Number = Annotated[int, Field(ge=-(2**62), le=2**62)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**64)]
Side = Annotated[int, Field(ge=1, le=65_536)]


class Growth(Record):
    """What something costs, counted for one image (batch size 1).

    Attributes:
        parameters: Number of parameters.
        buffers: Numbers stored besides the parameters, such as masks and caches.
        flops: Of one forward pass; a multiply-add counts as two.
        activations: Numbers written by one forward pass.

    Examples:
        >>> Growth(flops=3) + Growth(flops=4, buffers=1)
        Growth(parameters=0, buffers=1, flops=7, activations=0)
    """

    parameters: Number = 0
    buffers: Number = Field(default=0, description="numbers kept beside the parameters: masks, caches")
    flops: Number = Field(default=0, description="of one forward pass; a multiply-add counts as two")
    activations: Number = Field(default=0, description="numbers written by one forward pass")

    def __add__(self, other: Growth) -> Growth:
        return Growth(**{k: getattr(self, k) + getattr(other, k) for k in type(self).model_fields})


class Traits(Record):
    """What an evaluation must know of an edit, without knowing its layers.

    Attributes:
        stochastic: When outputs are random: never, in training mode, or always.
        train_only: Whether the edit is absent in evaluation mode.
        linear: Whether it is linear in its input in evaluation mode.
        masked: Whether some units are cut off from the gradient.

    Examples:
        >>> (Traits(stochastic="train") | Traits(linear=False)).stochastic
        'train'
    """

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


class Edit(Record):
    """One change at one site, by the name and settings of a registered operation, never by a class path.

    Attributes:
        site: Dotted name of the module, or "input".
        operation: Key into the plan's operations.
        layer: Dotted name of the inserted layer, or None.
        replaces: Whether the module at the site is replaced.
        before: Whether the layer is called on the module's input, instead of its output.
        call: Which call of the module the layer belongs to, from 0, in execution order; None means each call.
        settings: Sizes and choices resolved for this site.
        effect: What is aimed at; see `Effect`. What was measured of all edits together is `Plan.effect`.
        traits: What an evaluation must know.
        folds: Whether there is an equal module of torch's.
        exchanges: Whether that module is of another class, size or setting than the architecture's, so that the folded
            network is no longer of it.
        note: Why it does not fold, or what is special here.
        growth: What the edit adds.
        seed: Seed of its random numbers.

    Examples:
        >>> edit = Edit(site="relu", operation="clipping", settings={"limit": 2.0}, folds=False, note="not linear")
        >>> edit.settings["limit"], edit.traits.linear
        (2.0, True)
    """

    site: Line
    operation: Operated = Field(
        description="key into the plan's operations: 'kap', or 'kap#2' for a second one"
    )
    layer: Line | None = Field(default=None, description="dotted name of the layer that is added, if one is")
    replaces: bool = Field(default=False, description="the module at the site gets a new one in its place")
    before: bool = Field(
        default=False, description="the layer is called on the module's input, not its output"
    )
    call: int | None = Field(
        default=None,
        ge=0,
        le=100_000,
        description="the only call of the module that the layer belongs to; from 0",
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="sizes resolved for this site")
    effect: Effect = "exact"
    traits: Traits = Traits()
    folds: bool = True
    exchanges: bool = Field(
        default=False, description="it folds into a module that the architecture does not have there"
    )
    note: Prose = Field(default="", description="why it does not fold, or what is special here")
    growth: Growth = Growth()
    seed: Seed = 0


class Note(Record):
    """A remark on a plan: a code for programs, a sentence for readers.

    Attributes:
        code: What it is about, such as "size" or "start".
        severity: "info" or "warning".
        text: The sentence.

    Examples:
        >>> Note(code="size", text="the maps fit one image size alone").severity
        'warning'
    """

    code: Line
    severity: Literal["info", "warning"] = "warning"
    text: Prose


_FOLDS = {False: "folds", True: "folds, into another kind of layer"}
"""Of an edit that folds, by whether it exchanges what the architecture has there."""


class Plan(Record):
    """The edits of one surgery, in the order in which they are made, with costs and notes.

    Attributes:
        model: Name that the model was created by, or its class.
        fingerprint: Hash of class, tensor names and shapes before the surgery.
        layers: Hash of the classes and plain settings of all modules before the surgery.
        input_size: (C, H, W) or (C, T, H, W), or None if unknown.
        seed: Seed of every random choice.
        recipe: Names of the recipes, joined by '+'.
        operations: Settings of the operations, by key.
        edits: The edits.
        passed_over: Sites left alone, with reasons.
        refused: Modules that keep their Python code although it can be traced, since a graph of it gives other
            values, with the reason.
        before: Costs of the network before the surgery.
        measured: Whether its FLOPs and activations were counted.
        notes: Remarks.
        execution: What `apply` found out; None before it ran.

    Examples:
        >>> import surgeon
        >>> plan = surgeon.plan(surgeon.create_model("zoo/shallow1"), "kap")
        >>> len(plan.edits), plan.effect, plan.told(plan.edits[1])
        (2, 'destroyed', 'destroyed (train before use)')
        >>> [edit.site for edit in plan.of("kap")], plan.factor("parameters")
        (['input', 'features.conv1'], 1.0)
        >>> plan == Plan.model_validate_json(plan.model_dump_json())
        True
    """

    model: Line = Field(description="name the model was asked for by, or its class")
    fingerprint: Line = Field(description="hash of class, tensor names and shapes before the surgery")
    layers: Line = Field(
        default="", description="hash of classes and plain settings of all modules before it"
    )
    input_size: tuple[Side, ...] | None = Field(default=None, description="(C, H, W) or (C, T, H, W)")
    seed: Seed = 0
    recipe: str = Field(default="", pattern=r"^[\w .,+#()\-]*$", description="names of recipes, joined by +")
    operations: dict[Operated, dict[str, Any]] = Field(default_factory=dict, description="key → settings")
    edits: tuple[Edit, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    refused: dict[str, Prose] = Field(
        default_factory=dict, description="module → why it keeps its code though it can be traced"
    )
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
    def after(self) -> Growth:
        """What the rewritten network has: `before` and `growth` together."""
        return self.before + self.growth

    @property
    def counted(self) -> dict[str, tuple[int, int]]:
        """What was counted for one image, before and after the surgery, by its name in `Growth`."""
        names = ("parameters", *(("flops", "activations") if self.measured else ()), "buffers")
        return {name: (getattr(self.before, name), getattr(self.after, name)) for name in names}

    @property
    def grown(self) -> dict[str, str]:
        """How parameters, FLOPs and activations grow, in words: `1,000 → 1,250 (1.250×)`."""
        return {
            name: f"{before:,} → {after:,} ({after / before:.3f}×)"
            for name, (before, after) in self.counted.items()
            if before and name != "buffers"
        }

    def factor(self, name: str) -> float | None:
        """How many times the stock network's number the rewritten network has.

        Args:
            name: "parameters", "flops", "activations" or "buffers".

        Returns:
            The factor; None where the stock network has no such cost, or it was not counted.
        """
        before = getattr(self.before, name)
        return getattr(self.after, name) / before if before else None

    @property
    def traits(self) -> Traits:
        """The traits of all edits together, which an evaluation reads."""
        if not self.edits:
            return Traits()
        total = self.edits[0].traits
        for edit in self.edits[1:]:
            total = total | edit.traits
        return total

    @property
    def planned(self) -> Effect:
        """The worst effect of any edit: what is aimed at."""
        return worst(e.effect for e in self.edits)

    @property
    def effect(self) -> Effect:
        """What happens to the network's function: what was measured at the cut, before it what is planned."""
        return (self.execution and self.execution.effect) or self.planned

    def told(self, edit: Edit | None = None) -> str:
        """Say in words what happens to the function, or what an edit adds to it.

        Args:
            edit: One edit; None for all together.

        Returns:
            Some words. Of an edit whose weights were fitted the relative error of the fit, after the cut.
        """
        planned = self.planned if edit is None else edit.effect
        if self.execution is None:
            return AIMED if planned == "approximated" else EFFECT_TEXT[planned]
        if edit is None or planned in ("exact", "folds"):
            return EFFECT_TEXT[self.effect if edit is None else planned]
        error = self.execution.residuals.get(edit.site)
        return EFFECT_TEXT[self.effect] if error is None else f"fitted, error {error:.2g}"

    @property
    def folds(self) -> bool:
        """Whether every edit folds into a plain module of torch's."""
        return all(e.folds for e in self.edits)

    @property
    def leaves_architecture(self) -> bool:
        """Whether the folded network has modules that its architecture does not have: only surgeon makes it again."""
        return self.folds and any(e.exchanges for e in self.edits)

    @property
    def stock(self) -> str:
        """Whether the network folds into a stock checkpoint, in words: `yes`, `no`, `in part`, or into what else."""
        if self.leaves_architecture:
            return "no, into plain layers of a changed architecture"
        return "yes" if self.folds else "in part" if any(e.folds for e in self.edits) else "no"

    def __str__(self) -> str:
        """Show the plan as plain lines, for a notebook or a log; `surgeon plan` shows the same as a table."""
        size = "×".join(map(str, self.input_size)) if self.input_size else "unknown"
        lines = [f"{self.recipe} on {self.model}, input {size}, seed {self.seed}"]
        width = max((len(e.site) for e in self.edits), default=0)
        for e in self.edits:
            what = f"+ {e.layer.rpartition('.')[2]}" if e.layer else "replaced"
            folds = _FOLDS[e.exchanges] if e.folds else f"does not fold: {e.note}"
            lines.append(f"  {e.site:{width}}  {e.operation}  {what}  {self.told(e)}  {folds}")
        reasons = Counter((p.operation, p.reason) for p in self.passed_over)
        lines += [f"  passed over {n} × {op}: {reason}" for (op, reason), n in reasons.items()]
        lines += [f"{name}: {text}" for name, text in self.grown.items()]
        lines.append(f"function: {self.told()}; folds into a stock checkpoint: {self.stock}")
        if self.execution and self.execution.choice:
            lines.append(f"start: {self.execution.choice.why}")
        for name, search in (self.execution.searches if self.execution else {}).items():
            tried = ", ".join(f"{v:g} costs {percent(c)}" for v, c in search.curve)
            lines.append(
                f"{name}.{search.setting}: {search.value:g} of {tried} of the predictions on {search.images} images"
            )
        return "\n".join(lines + [f"{n.severity}: {n.text}" for n in self.notes])

    def _repr_html_(self) -> str:
        """Show the edits as a table in a notebook, with the other lines of `str(plan)` around it."""
        first, *more = str(self).splitlines()
        rows = [
            (
                e.site,
                e.operation,
                e.layer or "replaced",
                self.told(e),
                _FOLDS[e.exchanges] if e.folds else f"no: {e.note}",
            )
            for e in self.edits
        ]
        head = ("site", "operation", "layer", "function", "folds")
        return html.table(rows, head=head, caption=first) + html.paragraphs(more[len(rows) :])

    def of(self, operation: str) -> tuple[Edit, ...]:
        """Return the edits of one operation.

        Args:
            operation: Its name ('kap', every edit of that name) or its key ('kap#2').

        Returns:
            The edits, in order.
        """
        return tuple(e for e in self.edits if operation in (e.operation, e.operation.split("#")[0]))
