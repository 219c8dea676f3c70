"""What an operation is: settings, and four answers — where, what instead, how to undo, what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from surgeon.edits import Edit, Note
from surgeon.selection import Kind, PassedOver, Selection, Selector, Site, select
from surgeon.strict import Strict

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from surgeon.tensors.least_squares import Equations


@dataclass(frozen=True)
class Context:
    """What an operation may know of the network beside its sites.

    trained: whether the weights carry training (told by the caller, or seen in batch-norm statistics).
    num_classes: of the classifier, where it is known.
    calibrated: whether calibration images will be at hand when the cut is made.
    input_std: standard deviation that images in [0, 1] are divided by before they reach the network, per
    channel; None where they are not, or it is not known.
    """

    trained: bool = False
    num_classes: int | None = None
    calibrated: bool = False
    input_std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Proposal:
    """The edits an operation proposes, what it passes over, and its remarks."""

    edits: tuple[Edit, ...]
    passed_over: tuple[PassedOver, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Cut:
    """What carrying out one edit puts in place.

    replacement: takes the place of the site's module (None: the module stays).
    layer: is called on the module's output (None: nothing is inserted).
    residual: relative error of a least-squares start, if there was one.
    """

    replacement: nn.Module | None = None
    layer: nn.Module | None = None
    residual: float | None = None


@dataclass(frozen=True)
class LeastSquares:
    """A site's convolution on calibration images: one problem.

    equations: of the patches that the rewritten network gives (with a 1 at the end where `biased`), and of what layer and
    convolution together should give. scale: (C_out,), what a norm behind multiplies each channel by.
    """

    equations: Equations
    scale: Tensor
    biased: bool


@dataclass(frozen=True)
class Fit:
    """Weights (C_out', d), bias (C_out',) or None (the present one stays), and the relative error that they reach."""

    weight: Tensor
    bias: Tensor | None
    error: float


@dataclass(frozen=True)
class FoldContext:
    """What folding one edit may use.

    module: the module now at the site. layer: the inserted layer, or None.
    norm_after: finds `next_norm`; called only where an operation asks for it, since the network is traced for it.
    """

    module: nn.Module | None
    layer: nn.Module | None
    norm_after: Callable[[], nn.Module | None] = lambda: None

    @property
    def next_norm(self) -> nn.Module | None:
        """The norm that alone consumes the site's output, or None; folding may shift its running mean."""
        return self.norm_after()


class Operation(Strict):
    """Base of all operations: a frozen pydantic model of strict types (see `surgeon.strict`) whose field `op` is a Literal with the name.

    A subclass says which sites it can use (`propose`), what it puts there (`build`) and how to take it
    out without changing the function (`fold`). It never sees the graph.
    """

    kind: ClassVar[Kind] = "conv"
    reshapes: ClassVar[bool] = False
    """Whether the edits change the sizes that later operations of the same recipe see."""
    consumes: ClassVar[bool] = False
    """Whether a replaced module is no longer what it was, so that later operations must leave it alone."""
    binds: ClassVar[bool] = False
    """Whether what is put in has parameters for each position, so that the network takes images of one size alone."""

    select: Selector = Selector()

    @property
    def name(self) -> str:
        """The registered name."""
        return str(getattr(self, "op"))

    def chosen(self, sites: Sequence[Site], kind: Kind | None = None) -> Selection:
        """The sites that the selector chooses; raises SelectionError where there are none."""
        return select(sites, self.select, kind or self.kind, self.name)

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Decide on the edits, from data alone.

        Raises SelectionError when the selector, or the network, leaves no usable site.
        """
        raise NotImplementedError

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        """Make the modules of one edit; `module` is the one at the site (None at the input), left untouched.

        Every random number comes from `generator`.
        """
        raise NotImplementedError

    def rebuild(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        """As `build`, for a network whose weights are loaded afterwards: shapes matter, starts do not."""
        return self.build(edit, module, generator)

    def fit(self, edit: Edit, layer: nn.Module, problem: LeastSquares) -> Fit:
        """The site's convolution from its data; the edit's `layer` may be set too.

        Asked of edits with a layer behind a convolution whose `settings["start"]` is "sequential".
        """
        raise NotImplementedError

    def fold(self, edit: Edit, context: FoldContext) -> nn.Module | None:
        """The stock module equal to the site's module and layer in evaluation mode; None: the module as it is.

        Raises FoldError where there is none.
        """
        raise NotImplementedError


def pass_over(
    sites: Sequence[Site], operation: str, unfit: Callable[[Site], str]
) -> tuple[list[Site], list[PassedOver]]:
    """Split sites into those an operation can use and those it cannot (`unfit` gives the reason, or '')."""
    kept, passed = [], []
    for site in sites:
        reason = unfit(site)
        if reason:
            passed.append(PassedOver(site=site.name, operation=operation, reason=reason))
        else:
            kept.append(site)
    return kept, passed


def sizes(edit: Edit) -> dict[str, Any]:
    """The settings of an edit, with lists back as tuples (JSON has no tuples)."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in edit.settings.items()}


__all__ = [
    "Context",
    "Cut",
    "Fit",
    "FoldContext",
    "LeastSquares",
    "Operation",
    "Proposal",
    "pass_over",
    "sizes",
]
