"""The interface of operations: settings, and answers to the questions that surgery asks.

Only `propose` and `build` must be implemented, and `fold` for edits that fold. The other questions default to no:
whether a start is taken from calibration images (`needs_images`, `fit`, `refits`, `start_without_images`), from
statistics by channel (`observe`, `calibrate`), whether a setting is searched on them (`search`, `tune`), whether the
effect grows during training (`anneals`, `anneal`, `share_of_effect`), which outputs a layer lets through
(`passes`), what an attacker would use in its place (`surrogate`), and which paper's tables belong to it (`paper`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from surgeon.edits import Edit
from surgeon.errors import FoldError
from surgeon.methods.answers import (
    Context,
    Cut,
    FoldContext,
    LeastSquares,
    Observed,
    Proposal,
    Search,
    Unfitted,
    Wanted,
)
from surgeon.methods.usable import pass_over, sizes, usable_of
from surgeon.selection import Kind, Selection, Selector, Site, select
from surgeon.strict import Strict

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from surgeon.results.paper import Paper
    from surgeon.tensors.channel_statistics import ChannelStatistics


class Operation(Strict):
    """Base class of all operations: a frozen pydantic model with strict types (see `surgeon.strict`).

    A subclass has a field `op`, a Literal with its name. It decides which sites it can use (`propose`), what
    it puts there (`build`) and how to remove that without changing the function (`fold`). It never sees the
    graph. The page "A method of your own" writes one.

    Attributes:
        select: Which sites to work on. Default: all of the operation's kind.

    Examples:
        >>> from surgeon.methods import parse
        >>> operation = parse({"op": "kap", "kernel_size": 5, "select": {"exclude": "layer4.**"}})
        >>> operation.name, operation.kind, operation.select.exclude
        ('kap', 'conv', ('layer4.**',))
    """

    kind: ClassVar[Kind] = "conv"
    keeps_statistics: ClassVar[bool] = False
    """Whether batch norms keep the stock network's statistics, although the edits change what they receive."""
    reshapes: ClassVar[bool] = False
    """Whether the edits change the sizes that later operations of the same recipe see. FLOPs and activations that this
    adds to the whole network are measured; `propose` leaves them out of the edits' growth."""
    consumes: ClassVar[bool] = False
    """Whether a replaced module is of another kind afterwards, so that later operations must skip it."""
    binds: ClassVar[bool] = False
    """Whether the inserted modules have parameters per position, so that only one image size fits."""
    shows_slope: ClassVar[bool] = False
    """Whether the layers' own gradient shows the loss's slope, so that an attack differentiates them as they are, also
    where the edits' traits say that they are not linear. See `surrogate`."""
    ends_its_site: ClassVar[bool] = False
    """Whether what leaves the inserted layer are the activations of the convolution before it, as of a pooling that
    belongs to it: where an evaluation adds noise to activations, it does so behind the layer."""

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

        Examples:
            >>> from surgeon.methods import Site, parse
            >>> sites = [Site(name=f"conv{k}", kind="conv", cls="Conv2d", index=k) for k in (1, 2)]
            >>> [site.name for site in parse({"op": "identity", "select": {"first": 1}}).chosen(sites).sites]
            ['conv1']
        """
        return select(sites, self.select, kind or self.kind, self.name)

    def propose_each(
        self, sites: Sequence[Site], edit: Callable[[Site], Edit], unfit: Callable[[Site], str] = lambda _: ""
    ) -> Proposal:
        """Propose one edit at each site that the selector chooses and that can be used.

        Args:
            sites: The sites of the network.
            edit: Makes the edit of one site.
            unfit: Returns why a site cannot be used, or "" if it can. Default: all can.

        Returns:
            The proposed edits, the sites passed over, and the selector's remarks.

        Raises:
            SelectionError: The selector leaves no site, or none of those that it leaves can be used.

        Examples:
            >>> from surgeon.methods import Edit, Site, parse
            >>> sites = [Site(name=f"conv{k}", kind="conv", cls="Conv2d", index=k, groups=k) for k in (1, 2)]
            >>> proposal = parse({"op": "identity"}).propose_each(
            ...     sites,
            ...     lambda site: Edit(site=site.name, operation="identity", layer=f"{site.name}.identity"),
            ...     lambda site: "it has groups" if site.groups > 1 else "",
            ... )
            >>> [edit.layer for edit in proposal.edits], proposal.passed_over[0].reason
            (['conv1.identity'], 'it has groups')
        """
        usable, passed, notes = usable_of(self.chosen(sites), self.name, unfit)
        return Proposal(tuple(map(edit, usable)), passed, notes)

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

    def start_without_images(self, edit: Edit) -> str:
        """Name the start that an edit has where its site could not be fitted to images: the one that it was built with.

        The record then has it as the edit's setting `start`.

        Args:
            edit: An edit that needs images.

        Returns:
            A value of the setting `start`; empty if there is no name for it. Default: empty.
        """
        return ""

    def observe(self, edit: Edit) -> Wanted | None:
        """Say which statistics an edit takes from calibration images.

        They are of the stock network's values, where the inserted layer stands, over the calibration images that
        are not held out (a quarter, at most 64, is kept to compare starts; fewer than 8 images are all taken).

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
            layer: The inserted layer, or the replacement if no layer was inserted.
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
            The remaining relative error, or None without an error to report.

        Raises:
            Unfitted: The site must keep its initial start.
        """
        raise NotImplementedError

    def passes(self, edit: Edit, layer: nn.Module) -> Tensor | None:
        """Return which of the site's outputs the inserted layer lets through in evaluation mode.

        Asked where the convolution before it is fitted to images: what the layer cuts off need not be reached. One
        of another shape than the site's outputs is not used.

        Args:
            edit: The edit.
            layer: The inserted layer.

        Returns:
            (C, *spatial) bool, or None for all.
        """
        return None

    def surrogate(self, edit: Edit, layer: nn.Module) -> nn.Module | None:
        """Return what an attack that knows the method differentiates in place of a layer.

        An evaluation puts it into the backward pass alone (BPDA: Athalye, Carlini, Wagner 2018, arXiv 1802.00420),
        and into both passes. A layer that hides the loss's slope from attacks, by jumps or by chance, makes them
        weak, and robustness is judged too high.

        Args:
            edit: The edit.
            layer: The inserted layer, or the replacement if no layer was inserted; left untouched.

        Returns:
            A module that takes what the layer takes, in evaluation mode, and may share its tensors; `layer` itself
            where its own gradient shows the slope; None if the layer is left out, so that the gradient passes it
            unchanged. Default: an inserted layer is left out unless the class attribute `shows_slope` is set, or the
            edit's traits say that it is linear and always the same; what takes a module's place stays itself.
        """
        if self.shows_slope:
            return layer
        traits = edit.traits
        plain = traits.linear and not (traits.masked or traits.train_only or traits.stochastic == "always")
        return layer if plain or edit.layer is None else None

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
            layer: The inserted layer, or the replacement if no layer was inserted.
            progress: From 0, the network as it was, to 1, the whole method.
        """
        raise NotImplementedError

    def share_of_effect(self, edit: Edit, layer: nn.Module) -> float | None:
        """Say how much of its effect an annealed layer has. A further training leaves one that has all of it so, and
        whoever uses the network as the method before that is told.

        Args:
            edit: The edit.
            layer: As for `anneal`.

        Returns:
            From 0 to 1. Default: None, which is not known; every training then anneals it from the beginning.
        """
        return None

    @classmethod
    def paper(cls) -> Paper | None:
        """Return the evaluation that the method was published with, or None.

        Returns:
            The evaluation, or None. Default: None.
        """
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
    "usable_of",
]
