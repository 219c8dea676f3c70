"""Sites, the places of a network that operations work on, and the selectors that choose among them.

Imports no torch: a site is plain data found by `surgeon.graph`, a selector is plain data from a recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from surgeon.conditions import holds, is_condition, matches
from surgeon.errors import SelectionError, SurgeonError, nearest
from surgeon.strict import Line, Prose, Strict, shown

Kind = Literal[
    "input", "conv", "linear", "norm", "activation", "pool", "residual", "attention", "stem", "head"
]
INPUT = "input"


class Parts(BaseModel):
    """The layers of an attention module, by dotted names; None: it has no such layer, or it is not known.

    Examples:
        >>> Parts(projection="blocks.0.attn.proj").query is None
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str | None = None
    key: str | None = None
    value: str | None = None
    projection: str | None = None


class Site(BaseModel):
    """A place in a network. Shapes have no batch axis, and are None if they were not computed.

    Examples:
        >>> site = Site(name="fc", kind="linear", role="head", cls="Linear", index=7, out_shape=(10,))
        >>> site.is_a("head"), site.is_a("linear"), site.is_a("conv")
        (True, True, False)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        description="dotted name of the module; 'input' for the network's input; 'conv1.relu()' for the call of relu "
        "in the code of conv1, 'conv1.relu_2()' for the second one there"
    )
    kind: Kind
    role: Literal["", "stem", "head"] = Field(
        default="", description="stem: the first layer with weights; head: a layer that writes the classes"
    )
    cls: str = Field(description="class of the module; of a function, the one that gives the same")
    index: int = Field(description="order of first execution among all sites of the network")
    stage: int | None = Field(default=None, description="0 is the stem, then the stages in order")
    calls: int = Field(default=1, description="how often one forward pass calls the module")
    modes: tuple[Literal["train", "eval"], ...] = ("train", "eval")
    in_shape: tuple[int, ...] | None = None
    out_shape: tuple[int, ...] | None = Field(default=None, description="at the module's first call")
    call_shapes: tuple[tuple[int, ...], ...] = Field(
        default=(), description="of a module that is called several times: the shape of each call's output"
    )
    dims: int | None = Field(default=None, description="spatial dimensions the module works on: 1, 2 or 3")
    channels: int | None = Field(default=None, description="output channels")
    channel_axis: Literal[0, -1] | None = Field(
        default=None,
        description="axis of the channels in out_shape: 0 in (C, H, W), -1 in tokens (L, C); None: unknown",
    )
    in_channels: int | None = None
    kernel: tuple[int, ...] | None = None
    stride: tuple[int, ...] | None = None
    padding: tuple[int, ...] | None = Field(
        default=None,
        description="of a convolution or pooling, along each axis; None where it is given by a word",
    )
    groups: int | None = None
    bias: bool | None = None
    family: str | None = Field(
        default=None, description="of a norm: batch, group, layer, instance, rms, other"
    )
    fused: bool = Field(default=False, description="norm and activation in one module")
    activation: str = Field(
        default="",
        description="of a norm and activation in one: class of the activation; '' where it is no known one",
    )
    opens: bool = Field(
        default=True, description="a fused module that surgeon can open between norm and activation"
    )
    standardized: Literal["", "weights", "scaled"] = Field(
        default="", description="convolution that standardises its weights, without or with a learned gain"
    )
    altered: str = Field(
        default="",
        description="why it may not compute what its weights say, as torch's class does; '' where it does",
    )
    read: bool = Field(
        default=False,
        description="the module is not called: a function of its parent's is, which reads its weight",
    )
    padding_mode: str = "zeros"
    transposed: bool = False
    dilation: tuple[int, ...] | None = Field(
        default=None,
        description="of a convolution or pooling: distance of its window's places along each axis",
    )
    ceil: bool = Field(default=False, description="a pooling that rounds the size of its output up")
    folded: bool = Field(
        default=False,
        description="the first dimension of its output is not that of the images: tokens or windows lie in it",
    )
    logits: bool = Field(
        default=False,
        description="a convolution or linear layer whose channels are the classes: no weights follow it",
    )
    parts: Parts | None = Field(default=None, description="of attention: which layers make what")
    follows: str | None = Field(default=None, description="name of the convolution that feeds this norm")
    next_norm: str | None = Field(
        default=None, description="name of the norm that alone consumes this convolution"
    )

    def is_a(self, kind: str) -> bool:
        """Say whether it is of a kind; stem and head are layers of their own kind too.

        Args:
            kind: The kind.

        Returns:
            True where its kind or its role is this one.
        """
        return kind in (self.kind, self.role)

    @property
    def function(self) -> bool:
        """Whether the network's code calls it as a function: in the stock network no module stands there."""
        return is_call(self.name)

    @property
    def spatial(self) -> tuple[int, ...] | None:
        """Spatial size of the output, or None if unknown."""
        return None if self.out_shape is None else self.out_shape[1:]


def is_call(name: str) -> bool:
    """Say whether a site's name is that of a function that a module's code calls.

    Args:
        name: Name of a site.

    Returns:
        True where the name ends in `()`.

    Examples:
        >>> is_call("conv1.relu()"), is_call("conv1.relu")
        (True, False)
    """
    return name.endswith("()")


class PassedOver(BaseModel):
    """A site that an operation leaves alone, and why.

    Examples:
        >>> PassedOver(site="fc", operation="kap", reason="its channels are the classes").reason
        'its channels are the classes'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    site: Line
    operation: Line
    reason: Prose


class Selector(Strict):
    """Chooses sites. The conditions apply in the order of the fields.

    Attributes:
        include: Globs on dotted names to keep (see `surgeon.conditions.matches`); one, or several.
        exclude: Globs to leave out.
        stages: Stage numbers to keep; the stem is stage 0.
        channels: A condition on output channels, such as ">=16", "!=3" or "64".
        min_channels: Least number of output channels.
        max_channels: Largest number of output channels.
        kernel: A condition on the kernel's largest side.
        groups: A condition on the number of groups.
        skip_first: Drop this many sites at the start, in execution order, as for the following.
        skip_last: Drop this many sites at the end.
        first: Keep only this many sites from the start.
        last: Keep only this many sites from the end.
        every: Keep each `every`-th of the remaining sites.
        offset: Index of the first site that `every` keeps.

    Examples:
        >>> Selector(include="layer1.**", channels=">=16", first=2).include
        ('layer1.**',)
    """

    refused_as: ClassVar[type[SurgeonError]] = SelectionError

    include: tuple[str, ...] = ("**",)
    exclude: tuple[str, ...] = ()
    stages: tuple[int, ...] | None = None
    channels: str | None = None
    min_channels: int | None = Field(default=None, ge=1)
    max_channels: int | None = Field(default=None, ge=1)
    kernel: str | None = None
    groups: str | None = None
    skip_first: int = Field(default=0, ge=0)
    skip_last: int = Field(default=0, ge=0)
    first: int | None = Field(default=None, ge=1)
    last: int | None = Field(default=None, ge=1)
    every: int = Field(default=1, ge=1)
    offset: int = Field(default=0, ge=0)

    @field_validator("include", "exclude", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("channels", "kernel", "groups", mode="before")
    @classmethod
    def _condition(cls, value: object) -> object:
        if value is None:
            return None
        if isinstance(value, (bool, list, dict)) or not is_condition(str(value)):
            raise ValueError(
                f"{shown(value)} is not a condition; write for instance '>1', '<=7', '!=3' or '3'"
            )
        return str(value).strip()

    @field_validator("include")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("include is empty; leave it out to select every site")
        return value


class Selection(BaseModel):
    """The result of a selector.

    Attributes:
        sites: The chosen sites, in execution order.
        passed_over: The other sites of the kind, with reasons.
        remarks: Patterns that had no effect.

    Examples:
        >>> Selection(sites=(Site(name="conv", kind="conv", cls="Conv2d", index=0),)).sites[0].name
        'conv'
    """

    model_config = ConfigDict(frozen=True)

    sites: tuple[Site, ...]
    passed_over: tuple[PassedOver, ...] = ()
    remarks: tuple[str, ...] = ()


def select(sites: Iterable[Site], selector: Selector, kind: Kind, operation: str = "") -> Selection:
    """Return the sites of one kind that a selector chooses.

    Args:
        sites: All sites of a network.
        selector: The conditions.
        kind: The kind of site.
        operation: Name of the operation, for the record.

    Returns:
        The chosen sites in execution order, and the others with reasons.

    Raises:
        SelectionError: Nothing is left. The message says whether the network has no site of the kind, no
            include pattern matches a name (the nearest names are given), everything that matches is excluded,
            or the other conditions leave nothing.

    Examples:
        >>> sites = [Site(name=f"conv{k}", kind="conv", cls="Conv2d", index=k, channels=8 * k) for k in (1, 2)]
        >>> chosen = select(sites, Selector(channels=">8"), "conv")
        >>> chosen.sites[0].name, chosen.passed_over[0].site, chosen.passed_over[0].reason
        ('conv2', 'conv1', 'channels 8 is not >8')
    """
    everything = sorted(sites, key=lambda s: s.index)
    pool = [s for s in everything if s.is_a(kind)]
    if not pool:
        have = sorted({s.kind for s in everything})
        raise SelectionError(f"the model has no {kind} site (it has: {', '.join(have) or 'none'})")
    passed: list[PassedOver] = []

    def drop(site: Site, reason: str) -> bool:
        passed.append(PassedOver(site=site.name, operation=operation, reason=reason))
        return False

    included = [s for s in pool if any(matches(s.name, p) for p in selector.include)]
    if not included:
        patterns = ", ".join(repr(p) for p in selector.include)
        first = selector.include[0].replace("**.", "").replace("*", "").strip(".")
        raise SelectionError(f"no {kind} site matches {patterns}; {nearest(first, [s.name for s in pool])}")
    remarks = [
        f"include {p!r} matches no {kind} site; {nearest(p.replace('*', ''), [s.name for s in pool])}"
        for p in selector.include
        if not any(matches(s.name, p) for s in pool)
    ]
    chosen = {id(s) for s in included}
    for site in pool:
        if id(site) not in chosen:
            drop(site, "not in include")
    remarks += [
        f"exclude {p!r} has no effect: no {kind} site that is included matches it"
        for p in selector.exclude
        if not any(matches(s.name, p) for s in included)
    ]
    kept = [
        s for s in included if not any(matches(s.name, p) for p in selector.exclude) or drop(s, "excluded")
    ]
    if not kept:
        raise SelectionError(
            f"all {len(included)} {kind} sites that match include are excluded by "
            + ", ".join(repr(p) for p in selector.exclude)
        )
    excluded = len(included) - len(kept)
    kept = [s for s in kept if not (why := _unfit(s, selector)) or drop(s, why)]
    kept = _by_order(kept, selector, drop)
    if not kept:
        raise SelectionError(_left_nothing(kind, included, excluded, passed, selector))
    return Selection(sites=tuple(kept), passed_over=tuple(passed), remarks=tuple(remarks))


def _unfit(site: Site, selector: Selector) -> str:
    """Return the first condition that a site does not meet, in words, or ""."""
    if selector.stages is not None and site.stage not in selector.stages:
        return f"stage {site.stage} is not in {list(selector.stages)}"
    checks = (
        ("channels", site.channels, selector.channels),
        ("channels", site.channels, selector.min_channels and f">={selector.min_channels}"),
        ("channels", site.channels, selector.max_channels and f"<={selector.max_channels}"),
        ("kernel", max(site.kernel) if site.kernel else None, selector.kernel),
        ("groups", site.groups, selector.groups),
    )
    for label, value, condition in checks:
        if condition and (value is None or not holds(value, condition)):
            return f"{label} {value} is not {condition}"
    return ""


def _by_order(kept: list[Site], selector: Selector, drop: Callable[[Site, str], bool]) -> list[Site]:
    """Apply the conditions on the execution order."""
    stop = len(kept) - selector.skip_last
    chosen = [
        s
        for i, s in enumerate(kept)
        if selector.skip_first <= i < stop or drop(s, "skipped at the start or end")
    ]
    if selector.first is not None:
        chosen = [
            s
            for i, s in enumerate(chosen)
            if i < selector.first or drop(s, f"not in the first {selector.first}")
        ]
    if selector.last is not None:
        low = len(chosen) - selector.last
        chosen = [s for i, s in enumerate(chosen) if i >= low or drop(s, f"not in the last {selector.last}")]
    if selector.every == 1 and selector.offset == 0:
        return chosen
    step = f"every={selector.every}, offset={selector.offset} skips it"
    return [
        s
        for i, s in enumerate(chosen)
        if (i >= selector.offset and (i - selector.offset) % selector.every == 0) or drop(s, step)
    ]


def _left_nothing(
    kind: str, included: Sequence[Site], excluded: int, passed: Sequence[PassedOver], selector: Selector
) -> str:
    """Explain why conditions left no site, with the most frequent reasons."""
    reasons: dict[str, int] = {}
    names = {s.name for s in included}
    for p in passed:
        if p.site in names and p.reason != "excluded":
            reasons[p.reason] = reasons.get(p.reason, 0) + 1
    parts = [f"{n} × {r}" for r, n in sorted(reasons.items(), key=lambda item: -item[1])[:3]]
    head = (
        f"{excluded} of {len(included)} {kind} sites are excluded, and the rest do not fit"
        if excluded
        else (f"none of the {len(included)} {kind} sites fits")
    )
    stages = sorted({s.stage for s in included if s.stage is not None})
    tail = f"; the stages are {stages}" if selector.stages is not None else ""
    return f"{head}: {'; '.join(parts)}{tail}"
