"""Fit a network after the cut to calibration images: statistics by channel, weights, norms, and searched settings.

Statistics by channel of the stock network, where layers were inserted, are taken in the pass in which weights
are fitted to the same images (`refit.py`), where there is one that runs on all of them at once; otherwise in a
pass of the stock network alone, in batches.

A search takes the largest value of a setting that keeps to a budget. A value costs the share of images whose
prediction differs from that with the first value, which is harmless. Accuracy falls by at most that share,
whatever the labels are. Values are tried from the smallest on, and the first one above the budget ends the
search: a larger value is taken only if all smaller ones keep to the budget. All layers have their first value
while weights are fitted and statistics are taken. Batch norms keep their statistics in one search, and in a
second one they measure their inputs anew for each value. Both are compared with the same network, the one
before the search: what new statistics change counts against the budget. The search that reaches the larger
value is used, and the first one if they reach the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from surgeon.edits import Edit
from surgeon.errors import LayerError, SurgeryError, located
from surgeon.execution import Searched
from surgeon.graph.rewritten.network import Rewritten
from surgeon.graph.rewritten.pairs import Call, run_side_by_side, run_stock
from surgeon.methods.base import Operation, Search
from surgeon.methods.needs import restates
from surgeon.models.logits import drift_of, logits_of
from surgeon.models.norm_statistics import (
    put_back,
    reestimate_statistics,
    running_statistics,
    separate_statistics,
)
from surgeon.progress import step, tell
from surgeon.surgery.attempt import Attempt
from surgeon.surgery.refit import LayerByLayer, Refit, images_at_once, left_out
from surgeon.tensors.channel_statistics import ChannelStatistics

_IMAGES = 64

Curve = tuple[tuple[float, float], ...]
"""Each value of a setting that was tried, with its cost."""


def fitted(attempt: Attempt, stock: nn.Module, images: Tensor, *, lags: bool = False) -> Attempt:
    """Fit to images what the plan says, and re-estimate batch-norm statistics if the function has changed.

    Layers whose setting is searched change nothing at first. If no other operation has changed the function, the
    search begins with the stock network's statistics, unless these lag behind its weights.

    Args:
        attempt: The network after the cut, which is changed in place.
        stock: The network before the cut.
        images: (N, C, H, W) calibration images.
        lags: Whether the stock network's own statistics do not fit its weights.

    Returns:
        `attempt`.
    """
    if not (attempt.fits or attempt.approximates):
        return attempt
    theirs, displaced = running_statistics(attempt.tree), attempt.displaced.statistics
    # The rewritten network may share these tensors with the stock one, whose statistics must stay.
    separate_statistics(attempt.network)
    observation = Observation(attempt)
    at_once = images_at_once(attempt.network, attempt.made, attempt.operations, len(images))
    if at_once < len(images) or not observation.can_join:
        observation.alone(stock, images)
    first_values(attempt, (e for e in attempt.made.edits if e.layer not in observation.left))
    refit = _refitted(attempt, stock, images[:at_once], observation)
    observation.close(len(images))
    attempt.residuals |= refit.errors
    attempt.unfitted += refit.unfitted

    def settle() -> None:
        attempt.statistics = reestimate_statistics(attempt.network, images)

    if attempt.approximates and (lags or restates(attempt.made, but=attempt.searching)):
        settle()
    search(attempt, images, settle if attempt.approximates else None)
    # Statistics that were not taken again are not displaced: what training makes of them stays at a revert.
    # The first displaced value is the stock one: a later one must not overwrite it, or revert returns that. What stood
    # in a replaced module's place before this cut was an earlier cut's, and the module comes back with its own values.
    taken = theirs if attempt.statistics else {}
    attempt.displaced.statistics = {**attempt.displaced.beside({**refit.displaced, **taken}), **displaced}
    return attempt


def _refitted(attempt: Attempt, stock: nn.Module, images: Tensor, observation: Observation) -> Refit:
    """Run both networks on all the images at once, and fit each layer at its call; without images, no layer."""
    network, made, operations = attempt.network, attempt.made, attempt.operations
    if not len(images) or not isinstance(network, Rewritten):
        return Refit(unfitted=left_out(made, operations))
    fit = LayerByLayer(network, stock, made, operations)

    def visit(call: Call) -> None:
        observation.at(call)
        fit(call)

    like = next(p for p in stock.parameters() if p.is_floating_point())
    run_side_by_side(network, stock, images.to(like), visit)
    fit.found.unfitted += left_out(made, operations, fit.reached)
    return fit.found


class Observation:
    """The statistics that the edits of an attempt ask for.

    Args:
        attempt: The network after the cut; its inserted layers are set up by their operations once their
            statistics are complete, and then get the first value of a search.

    Attributes:
        left: The edits whose layers are not set up yet, by layer.
    """

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.left: dict[str, Edit] = {
            str(e.layer): e
            for e in attempt.made.edits
            if attempt.operations[e.operation].observe(e) is not None
        }
        self._found: dict[str, ChannelStatistics] = {}

    @property
    def can_join(self) -> bool:
        """Whether each layer can be set up at its call in another pass.

        Not one that is called again later, nor one that says what it lets through (`Operation.passes`), which
        the convolution before it is fitted by.
        """
        network = self.attempt.network
        if not isinstance(network, Rewritten):
            return False
        calls = Counter(str(n.target) for n in network.eval_graph.nodes if n.op == "call_module")
        operations = (self.attempt.operations[e.operation] for e in self.left.values())
        return all(calls[name] == 1 for name in self.left) and all(
            type(o).passes is Operation.passes for o in operations
        )

    def alone(self, stock: nn.Module, images: Tensor) -> None:
        """Take all statistics in a pass of the stock network, and set up the layers.

        Args:
            stock: The network before the cut.
            images: (N, C, H, W) calibration images.

        Raises:
            SurgeryError: The values at a site are not finite, or not of the recorded channels.
        """
        network = self.attempt.network
        if self.left and isinstance(network, Rewritten):
            like = next((p for p in stock.parameters() if p.is_floating_point()), images)
            for start in range(0, len(images), _IMAGES):
                tell("statistics of", start, len(images))
                run_stock(network, stock, images[start : start + _IMAGES].to(like), self._add)
            tell("statistics of", len(images), len(images))
        for name in list(self._found):
            self._set_up(name)
        self.close(len(images))

    def at(self, call: Call) -> None:
        """Take the statistics of one layer from its only call in another pass, and set it up.

        Args:
            call: The call; others than those of `left` are passed over.

        Raises:
            SurgeryError: As for `alone`.
        """
        if call.name in self.left and isinstance(call.old, Tensor):
            for part in call.old.split(_IMAGES):
                self._add(call.name, part)
            self._set_up(call.name)

    def close(self, number: int) -> None:
        """Record how many images were seen, and the edits that no call of the network reached as unfitted."""
        for edit in self.left.values():
            why = "it lies where torch.fx cannot follow the network as a whole"
            self.attempt.unfitted.append((edit, why))
        if self.left or self._found:
            self.attempt.observed = number
        self.left = {}

    def _add(self, name: str, values: Any) -> None:
        """Take in the values of one batch at one layer."""
        edit = self.left.get(name)
        if edit is None or not isinstance(values, Tensor):
            return
        try:
            if name not in self._found:
                wanted = self.attempt.operations[edit.operation].observe(edit)
                assert wanted is not None
                self._found[name] = ChannelStatistics(
                    wanted.channels,
                    wanted.axis,
                    covariance=wanted.covariance,
                    quantiles=wanted.quantiles,
                    seed=edit.seed % 2**63,
                    of=wanted.of,
                )
            self._found[name].update(values)
        except LayerError as error:
            raise SurgeryError(f"{edit.operation} at {edit.site}: {error}") from error

    def _set_up(self, name: str) -> None:
        """Give a layer its statistics, and the first value of a search."""
        edit = self.left.pop(name)
        layer = self.attempt.network.get_submodule(name)
        try:
            self.attempt.operations[edit.operation].calibrate(edit, layer, self._found[name])
        except Exception as error:  # an operation of another package may raise anything
            located(error, f"{edit.operation} at {edit.site}, calibrate")
            raise
        first_values(self.attempt, [edit])


def first_values(attempt: Attempt, edits: Iterable[Edit]) -> None:
    """Give layers whose setting is searched their first value, which is harmless.

    Args:
        attempt: The network after the cut.
        edits: The edits of the layers.

    Raises:
        SurgeryError: An operation's values do not rise, or it has no values.
    """
    searching = attempt.searching
    for key, asked in searching.items():
        # The search ends at the first value above the budget, which is right for rising values alone.
        if not asked.values or list(asked.values) != sorted(set(asked.values)):
            raise SurgeryError(
                f"{key}: the values to try for {asked.setting} must rise; they are {asked.values}"
            )
    for edit in edits:
        if edit.operation in searching:
            _tune_one(attempt, edit, searching[edit.operation].values[0])


def search(attempt: Attempt, images: Tensor, settle: Callable[[], None] | None) -> None:
    """Search the settings that the operations of an attempt ask for, one operation after the other.

    Args:
        attempt: The network, whose layers have their first values; they get the chosen ones.
        images: (N, C, H, W) calibration images.
        settle: Has batch norms measure their inputs anew; None if they are to keep their statistics.

    Raises:
        SurgeryError: The network gives no logits.
    """
    for key, asked in attempt.searching.items():
        first = logits_of(attempt.network, images)
        curve = _curve(attempt, key, asked, images, first, None)
        if settle is not None:
            measured, theirs = attempt.statistics, separate_statistics(attempt.network)
            settled = _curve(attempt, key, asked, images, first, settle)
            if _largest(settled, asked.budget, asked.values[0]) > _largest(curve, asked.budget):
                curve = settled
            else:
                put_back(theirs)
                attempt.statistics = measured
        value = _largest(curve, asked.budget)
        _tune(attempt, key, value)
        # The statistics are those of the value tried last, which may be the one that was too dear.
        if settle is not None and curve is settled and value != curve[-1][0]:
            settle()
        attempt.searches[key] = Searched(
            setting=asked.setting, budget=asked.budget, images=len(images), curve=curve, value=value
        )


def _curve(
    attempt: Attempt,
    key: str,
    asked: Search,
    images: Tensor,
    first: Tensor | None,
    settle: Callable[[], None] | None,
) -> Curve:
    """Return each value that was tried with its cost, up to the first one above the budget."""
    # With the statistics as they are the first value costs nothing: `first` are its logits.
    curve = [] if settle else [(asked.values[0], 0.0)]
    for value in asked.values[len(curve) :]:
        with step(f"{key}.{asked.setting} {value:g}"):
            _tune(attempt, key, value)
            if settle:
                settle()
            drift = drift_of(first, logits_of(attempt.network, images), "calibration")
        if drift is None:
            raise SurgeryError(
                f"{key}: {asked.setting} cannot be searched: the network gives no logits to compare"
            )
        curve.append((value, 1 - drift.agreement))
        if curve[-1][1] > asked.budget:
            break
    return tuple(curve)


def _largest(curve: Curve, budget: float, otherwise: float = 0.0) -> float:
    """Return the largest value that keeps to the budget."""
    return max((value for value, cost in curve if cost <= budget), default=otherwise)


def _tune(attempt: Attempt, key: str, value: float) -> None:
    """Give the layers of an operation a value of its search."""
    for edit in attempt.made.edits:
        if edit.operation == key:
            _tune_one(attempt, edit, value)


def _tune_one(attempt: Attempt, edit: Edit, value: float) -> None:
    """Give a layer a value; one that could not be set up is left alone."""
    place = edit.layer or (edit.site if edit.replaces else None)
    if place and not any(edit is kept for kept, _ in attempt.unfitted):
        attempt.operations[edit.operation].tune(edit, attempt.network.get_submodule(place), value)
