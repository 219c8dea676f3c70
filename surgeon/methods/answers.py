"""What operations are given, and what they answer, as data. See `surgeon.methods.base` for the questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from surgeon.edits import Edit, Note
from surgeon.selection import PassedOver

if TYPE_CHECKING:
    from torch import Tensor, nn

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

    Examples:
        >>> Context(trained=True, num_classes=10).calibrated
        False
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

    Examples:
        >>> edit = Edit(site="conv1", operation="identity", layer="conv1.identity")
        >>> Proposal((edit,)).passed_over
        ()
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
        residual: Relative error of a least-squares start, or None without such a start.

    Examples:
        >>> from torch import nn
        >>> Cut(layer=nn.Hardtanh()).replacement is None
        True
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
        of: What counts: "values", every number of a channel, or "means", its mean over the positions of each image,
            as global average pooling has it.

    Examples:
        >>> Wanted(channels=64, axis=-1, quantiles=True)
        Wanted(channels=64, axis=-1, covariance=False, quantiles=True, of='values')
    """

    channels: int
    axis: int = 1
    covariance: bool = False
    quantiles: bool = False
    of: Literal["values", "means"] = "values"


@dataclass(frozen=True)
class Search:
    """A setting to be chosen on calibration images: the largest value whose cost keeps to a budget.

    Attributes:
        setting: Name of the setting, for the record.
        values: The values to try, rising. The first must be harmless: it is used if all others cost too much.
        budget: The largest share of predictions that may differ from those with the first value. Accuracy can fall
            by no more than this share, so that no labels are needed.

    Examples:
        >>> Search(setting="alpha", values=(0.0, 0.1, 0.2), budget=0.01).values[0]
        0.0
    """

    setting: str
    values: tuple[float, ...]
    budget: float


class Unfitted(Exception):
    """Raised if a site must keep its initial start: by `Operation.fit`, or by `Observed.problem`.

    Examples:
        >>> raise Unfitted("the convolution has 40,000 weights for each output channel")
        Traceback (most recent call last):
        ...
        surgeon.methods.answers.Unfitted: the convolution has 40,000 weights for each output channel
    """


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
    def kept(self) -> tuple[nn.Module, ...]:
        """The layers of earlier surgery behind the module; `stock` and `wanted` come before them."""

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
            Unfitted: The module is not a 2-D convolution, or has too many weights per output channel.
        """


@dataclass(frozen=True)
class FoldContext:
    """What folding one edit may use.

    Attributes:
        module: The module now at the site.
        layer: The inserted layer, or None.
        norm_after: Finds `next_norm`. Called only if an operation asks for it, since that traces the network.

    Examples:
        >>> from torch import nn
        >>> context = FoldContext(module=nn.Conv2d(3, 8, 3), layer=nn.Identity())
        >>> context.next_norm is None
        True
    """

    module: nn.Module | None
    layer: nn.Module | None
    norm_after: Callable[[], nn.Module | None] = lambda: None

    @property
    def next_norm(self) -> nn.Module | None:
        """The norm that alone consumes the site's output, or None; folding may shift its running mean."""
        return self.norm_after()
