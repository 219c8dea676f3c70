"""The interface of operations: settings, and answers to the questions that surgery asks.

Only `propose` and `build` must be implemented, and `fold` for edits that fold. The other questions default to no:
whether a start is taken from calibration images (`needs_images`, `fit`, `refits`), from statistics by channel
(`observe`, `calibrate`), whether a setting is searched on them (`search`, `tune`), whether the effect grows during
training (`anneals`, `anneal`), which outputs a layer lets through (`passes`), and which paper's tables belong to it
(`paper`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from surgeon.edits import Edit, Note
from surgeon.errors import FoldError, SelectionError
from surgeon.selection import Kind, PassedOver, Selection, Selector, Site, select
from surgeon.strict import Strict

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from surgeon.results.paper import Paper
    from surgeon.tensors.channel_statistics import ChannelStatistics
    from surgeon.tensors.least_squares import Equations


@dataclass(frozen=True)
class Context:
    """What an operation may know of the network besides its sites.

    Attributes:
        trained: Whether the weights are trained (stated by the caller, or seen in batch-norm statistics).
        num_classes: Classes of the classifier, or None if unknown.
        calibrated: Whether calibration images will be available when the cut is made.
        input_std: Standard deviation, per channel, that images in [0, 1] are divided by before they reach the
            network; None if they are not, or if it is unknown.
    """

    trained: bool = False
    num_classes: int | None = None
    calibrated: bool = False
    input_std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Proposal:
    """The edits that an operation proposes.

    Attributes:
        edits: The edits, in the order in which they are made.
        passed_over: The sites left alone, with reasons.
        notes: Remarks for the plan.
    """

    edits: tuple[Edit, ...]
    passed_over: tuple[PassedOver, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Cut:
    """The modules that one edit puts in place.

    Attributes:
        replacement: Takes the place of the site's module; None leaves that module.
        layer: Is called on the module's output; None inserts nothing.
        residual: Relative error of a least-squares start, or None if there was none.
    """

    replacement: nn.Module | None = None
    layer: nn.Module | None = None
    residual: float | None = None


@dataclass(frozen=True)
class LeastSquares:
    """The least-squares problem of one convolution on calibration images.

    Attributes:
        equations: Normal equations in the patches that the rewritten network gives (with a 1 at the end if
            `biased`) and in the outputs that layer and convolution together should give.
        scale: (C_out,), the factor that a following norm multiplies each channel by.
        biased: Whether a bias is fitted too.
    """

    equations: Equations
    scale: Tensor
    biased: bool


@dataclass(frozen=True)
class Wanted:
    """The statistics that an edit asks for: mean and variance by channel, and more on request.

    Attributes:
        channels: Number of channels.
        axis: Axis of the channels in a batch: 1 in (N, C, H, W), -1 in (N, L, C).
        covariance: Whether the covariance of the channels is wanted too.
        quantiles: Whether quantiles are wanted too.
    """

    channels: int
    axis: int = 1
    covariance: bool = False
    quantiles: bool = False


@dataclass(frozen=True)
class Search:
    """A setting to be chosen on calibration images: the largest value whose cost keeps to a budget.

    Attributes:
        setting: Name of the setting, for the record.
        values: The values to try, rising. The first must be harmless: it is used if all others cost too much.
        budget: The largest share of predictions that may differ from those with the first value. Accuracy can fall
            by no more than this share, so that no labels are needed.
    """

    setting: str
    values: tuple[float, ...]
    budget: float


class Unfitted(Exception):
    """Raised if a site must keep its initial start: by `Operation.fit`, or by `Observed.problem`."""


class Observed(Protocol):
    """Calibration images as seen at one edit, while the stock and the rewritten network run side by side.

    Expensive values are computed when first read.
    """

    @property
    def module(self) -> nn.Module:
        """The module at the site in the rewritten network; its weights may be set."""

    @property
    def layer(self) -> nn.Module | None:
        """The layer that the edit inserted, or None."""

    @property
    def inputs(self) -> Tensor:
        """(N, C_in, *spatial): inputs in the rewritten network, of the layer if the edit replaces nothing."""

    @property
    def stock(self) -> Tensor:
        """(N, C_out, *spatial): the output of the site in the network before the surgery."""

    @property
    def wanted(self) -> Tensor:
        """(N, C_out, *spatial): the outputs to reach, so that the network behind computes what it did.

        It is `stock`, plus, if the branch ends in an addition, what the other branch has drifted by.
        """

    @property
    def centred(self) -> bool:
        """Whether a following norm subtracts each channel's mean, so that the mean need not be reached."""

    @property
    def problem(self) -> LeastSquares:
        """The normal equations of a 2-D convolution.

        Raises:
            Unfitted: The module is no 2-D convolution, or has too many weights per output channel.
        """


@dataclass(frozen=True)
class FoldContext:
    """What folding one edit may use.

    Attributes:
        module: The module now at the site.
        layer: The inserted layer, or None.
        norm_after: Finds `next_norm`. Called only if an operation asks for it, since that traces the network.
    """

    module: nn.Module | None
    layer: nn.Module | None
    norm_after: Callable[[], nn.Module | None] = lambda: None

    @property
    def next_norm(self) -> nn.Module | None:
        """The norm that alone consumes the site's output, or None; folding may shift its running mean."""
        return self.norm_after()


class Operation(Strict):
    """Base class of all operations: a frozen pydantic model with strict types (see `surgeon.strict`).

    A subclass has a field `op`, a Literal with its name. It decides which sites it can use (`propose`), what
    it puts there (`build`) and how to remove that without changing the function (`fold`). It never sees the
    graph.

    Attributes:
        select: Which sites to work on. Default: all of the operation's kind.
    """

    kind: ClassVar[Kind] = "conv"
    keeps_statistics: ClassVar[bool] = False
    """Whether batch norms keep the stock network's statistics, although the edits change what they receive."""
    reshapes: ClassVar[bool] = False
    """Whether the edits change the sizes that later operations of the same recipe see."""
    consumes: ClassVar[bool] = False
    """Whether a replaced module is of another kind afterwards, so that later operations must skip it."""
    binds: ClassVar[bool] = False
    """Whether the inserted modules have parameters per position, so that only one image size fits."""

    select: Selector = Selector()

    @property
    def name(self) -> str:
        """The registered name."""
        return str(getattr(self, "op"))

    def chosen(self, sites: Sequence[Site], kind: Kind | None = None) -> Selection:
        """Return the sites that the selector chooses.

        Args:
            sites: The sites of the network.
            kind: The kind of site. Default: the class attribute `kind`.

        Returns:
            The chosen sites, and those passed over.

        Raises:
            SelectionError: The selector leaves no site.
        """
        return select(sites, self.select, kind or self.kind, self.name)

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Decide on the edits, from data alone.

        Args:
            sites: The sites of the network that earlier operations left.
            context: What is known of the network besides.

        Returns:
            The proposed edits.

        Raises:
            SelectionError: The selector, or the network, leaves no usable site.
        """
        raise NotImplementedError

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        """Make the modules of one edit.

        Args:
            edit: An edit that `propose` returned.
            module: The module at the site, which must be left untouched; None at the network's input.
            generator: The source of every random number; drawing elsewhere makes cuts irreproducible.

        Returns:
            The modules to put in place.
        """
        raise NotImplementedError

    def rebuild(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        """Make the modules of one edit for weights that are loaded afterwards: only shapes matter.

        Args:
            edit: The edit.
            module: The module at the site; None at the network's input.
            generator: The source of random numbers.

        Returns:
            The modules, as from `build`.
        """
        return self.build(edit, module, generator)

    def needs_images(self, edit: Edit) -> str:
        """Say what of the edit is fitted to calibration images.

        Args:
            edit: The edit.

        Returns:
            A few words for messages, such as "start 'sequential'"; empty if nothing is fitted. Default:
            "statistics" if the edit observes, otherwise empty.
        """
        return "statistics" if self.observe(edit) is not None else ""

    def observe(self, edit: Edit) -> Wanted | None:
        """Say which statistics an edit takes from calibration images.

        They are of the stock network's values, where the inserted layer stands, over all calibration images.

        Args:
            edit: The edit, with an inserted layer.

        Returns:
            What is wanted, or None for nothing.
        """
        return None

    def calibrate(self, edit: Edit, layer: nn.Module, statistics: ChannelStatistics) -> None:
        """Set up the inserted layer by the statistics that `observe` asked for.

        Args:
            edit: The edit.
            layer: The inserted layer.
            statistics: What was seen.
        """
        raise NotImplementedError

    def search(self) -> Search | None:
        """Say which setting is chosen on calibration images, for all edits together.

        Returns:
            The search, or None.
        """
        return None

    def tune(self, edit: Edit, layer: nn.Module, value: float) -> None:
        """Give a layer one of the values of `search`.

        Args:
            edit: The edit.
            layer: The inserted layer.
            value: The value.
        """
        raise NotImplementedError

    def refits(self, edit: Edit) -> bool:
        """Say whether layers behind the edit that no edit touched are re-fitted, to make up for it.

        Args:
            edit: The edit.

        Returns:
            Whether they are.
        """
        return False

    def headroom(self, edit: Edit) -> float:
        """Return the factor for weights in front of a batch norm when layers are re-fitted.

        The norm cancels it, but training steps become smaller relative to the weights.

        Args:
            edit: The edit.

        Returns:
            The factor; 1 leaves the size of the weights.
        """
        return 1.0

    def fit(self, edit: Edit, seen: Observed) -> float | None:
        """Set the weights of the module or the layer from calibration images.

        Called for edits that need images, in execution order: before the module runs if the edit replaces it,
        otherwise before the layer runs.

        Args:
            edit: The edit.
            seen: The calibration images at this edit.

        Returns:
            The remaining relative error, or None if there is none to report.

        Raises:
            Unfitted: The site must keep its initial start.
        """
        raise NotImplementedError

    def passes(self, edit: Edit, layer: nn.Module) -> Tensor | None:
        """Return which of the site's outputs the inserted layer lets through in evaluation mode.

        Args:
            edit: The edit.
            layer: The inserted layer.

        Returns:
            (C, *spatial) bool, or None for all.
        """
        return None

    def anneals(self, edit: Edit) -> bool:
        """Say whether the edit's effect grows during training.

        Args:
            edit: The edit.

        Returns:
            Whether it does.
        """
        return edit.settings.get("start", getattr(self, "start", None)) == "anneal"

    def anneal(self, edit: Edit, layer: nn.Module, progress: float) -> None:
        """Set the share of the effect. Called during training for edits that anneal.

        Args:
            edit: The edit.
            layer: The inserted layer, or the replacement if there is none.
            progress: From 0, the network as it was, to 1, the whole method.
        """
        raise NotImplementedError

    @classmethod
    def paper(cls) -> Paper | None:
        """Return the evaluation that the method was published with, or None."""
        return None

    def fold(self, edit: Edit, context: FoldContext) -> nn.Module | None:
        """Return the stock module that equals the site's module and layer in evaluation mode.

        Args:
            edit: The edit.
            context: The modules, and the norm that follows.

        Returns:
            A new module, or None if the module at the site stays as it is.

        Raises:
            FoldError: There is no such module. Default: for every edit that does not fold.
        """
        if not edit.folds:
            raise FoldError(edit.note or f"{edit.operation} has no stock equivalent")
        raise NotImplementedError(f"{type(self).__name__} says that it folds, and has no method fold")


def pass_over(
    sites: Sequence[Site], operation: str, unfit: Callable[[Site], str], *, demand: bool = True
) -> tuple[list[Site], list[PassedOver]]:
    """Split sites into those that an operation can use and those that it cannot.

    Args:
        sites: The sites.
        operation: Name of the operation, for the record.
        unfit: Returns why a site cannot be used, or "" if it can.
        demand: Whether an error is raised if no site can be used.

    Returns:
        The usable sites, and the others with their reasons.

    Raises:
        SelectionError: No site can be used; the message has the first reasons.
    """
    kept, passed = [], []
    for site in sites:
        reason = unfit(site)
        if reason:
            passed.append(PassedOver(site=site.name, operation=operation, reason=reason))
        else:
            kept.append(site)
    if demand and not kept:
        shown = [f"{p.site}: {p.reason}" for p in passed[:3]]
        more = f"; and {len(passed) - 3} more" if len(passed) > 3 else ""
        raise SelectionError(f"{operation} has no site left: {'; '.join(shown)}{more}")
    return kept, passed


def sizes(edit: Edit) -> dict[str, Any]:
    """Return the settings of an edit, with lists turned back into tuples (JSON has no tuples).

    Args:
        edit: The edit.

    Returns:
        The settings.
    """
    return {k: tuple(v) if isinstance(v, list) else v for k, v in edit.settings.items()}


__all__ = [
    "Context",
    "Cut",
    "FoldContext",
    "LeastSquares",
    "Observed",
    "Operation",
    "Proposal",
    "Search",
    "Unfitted",
    "Wanted",
    "pass_over",
    "sizes",
]
