"""What an operation is: settings, and answers to what surgery asks: where, what instead, how to undo, what it costs.

Only `propose`, `build` and `fold` have to be answered. The other questions have answers that say no: whether a start is taken from
images (`needs_images`, `fit`, `refits`), whether the effect grows in training (`anneals`, `anneal`), what a layer lets through
(`passes`), and which paper's tables belong to it (`paper`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from surgeon.edits import Edit, Note
from surgeon.selection import Kind, PassedOver, Selection, Selector, Site, select
from surgeon.strict import Strict

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from surgeon.results.paper import Paper
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


class Unfitted(Exception):
    """Why a site keeps the start that it was built with. Raised in `Operation.fit`, also by `Observed.problem`; the record tells."""


class Observed(Protocol):
    """What calibration images are at one edit, while the networks before and after the surgery run side by side.

    What costs something is computed when it is first asked for.
    """

    @property
    def module(self) -> nn.Module:
        """The module at the site, in the rewritten network: its weights may be set."""

    @property
    def layer(self) -> nn.Module | None:
        """The layer that the edit inserted, or None."""

    @property
    def inputs(self) -> Tensor:
        """(N, C_in, *spatial): what the rewritten network gives the module, or the layer where the edit replaces nothing."""

    @property
    def stock(self) -> Tensor:
        """(N, C_out, *spatial): what the network before the surgery gives at the site."""

    @property
    def wanted(self) -> Tensor:
        """(N, C_out, *spatial): the outputs to reach, so that the network behind them is as it was: `stock`, and where the
        branch ends in an addition, what the other branch has drifted by."""

    @property
    def centred(self) -> bool:
        """Whether a norm behind takes each channel's mean away, so that it need not be reached."""

    @property
    def problem(self) -> LeastSquares:
        """The normal equations of a 2-D convolution; raises Unfitted for others, and for one with too many weights a channel."""


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

    def needs_images(self, edit: Edit) -> str:
        """What of the edit is taken from calibration images, in words; empty where nothing is. Such edits are fitted."""
        return ""

    def refits(self, edit: Edit) -> bool:
        """Whether layers that no edit touched are fitted anew behind this one, so that the network makes up for it."""
        return False

    def headroom(self, edit: Edit) -> float:
        """What weights in front of a batch norm are multiplied by when layers are refitted; the norm takes it away again."""
        return 1.0

    def fit(self, edit: Edit, seen: Observed) -> float | None:
        """Set the module's weights, or the layer's, from calibration images; the relative error that is left, or None.

        Asked of edits that need images, in execution order: before the module is called where the edit replaces it, else before the layer is.
        """
        raise NotImplementedError

    def passes(self, edit: Edit, layer: nn.Module) -> Tensor | None:
        """Which of the site's outputs the inserted layer lets through in evaluation mode, (C, *spatial) bool; None: all."""
        return None

    def anneals(self, edit: Edit) -> bool:
        """Whether the edit's effect grows while the network is trained."""
        return edit.settings.get("start", getattr(self, "start", None)) == "anneal"

    def anneal(self, edit: Edit, layer: nn.Module, progress: float) -> None:
        """Set the share of the effect at `progress`, from 0, the network as it was, to 1, the whole method.

        layer: the inserted layer, or the replacement where there is none. Asked of edits that anneal.
        """
        raise NotImplementedError

    @classmethod
    def paper(cls) -> Paper | None:
        """The evaluation that the method was published with, or None."""
        return None

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
    "FoldContext",
    "LeastSquares",
    "Observed",
    "Operation",
    "Proposal",
    "Unfitted",
    "pass_over",
    "sizes",
]
