"""Planning: what a recipe would do to a network, decided on data before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from surgeon.arguments import checked_seed
from surgeon.edits import Plan
from surgeon.graph.survey import Survey
from surgeon.host import in_own_state
from surgeon.surgery.asked import RecipeLike, operations_of
from surgeon.surgery.deciding import decide
from surgeon.surgery.door import admitted
from surgeon.surgery.starts import WarmStart, with_starts
from surgeon.surgery.worded import with_settings


@in_own_state()
def plan(
    model: nn.Module,
    recipe: RecipeLike,
    *,
    input_size: tuple[int, ...] | None = None,
    seed: int = 0,
    trained: bool | None = None,
    calibrated: bool = False,
    stack: bool = False,
    seen: Survey | None = None,
    warm_start: WarmStart | None = None,
    settings: Mapping[str, Any] | None = None,
    **words: Any,
) -> Plan:
    """What `recipe` would do to `model`, which is left untouched.

    recipe: a shipped name (several joined by '+'), a file, a Recipe, an Operation, a mapping, or a list of these.
    input_size: (C, H, W) without the batch, by default what the model's own configuration says.
    seed: of every random choice, from 0 to 2³² − 1; the same seed gives the same plan and the same cut.
    trained: whether the weights carry training; by default seen in the batch norms' statistics.
    calibrated: whether `apply` will be given calibration images, which allows better starts.
    stack: allow a network that has had surgery; the plan then holds the new edits alone.
    seen: what `look` saw of this same network at this size, so that several plans share one look.
    warm_start: what becomes of trained weights, instead of what the operations' own `start` says: one start for all that
        know it ("lstsq", "sequential", "replicate", "anneal", "naive"; "distill", "mean"), or {operation: start}.
    words: settings of the recipe's operations, `kernel_size=5`, on top of what it says. settings: the same as a mapping, which may also name
        the operation: {"kap.kernel_size": 5}; for what several operations know, or what is called as an argument here.

    Raises RecipeError, SelectionError (no site), TraceError (nothing torch.fx can follow), SurgeryError
    (surgery has been done already).
    """
    seed = checked_seed(seed)
    subject = admitted(model, input_size, stack=stack)
    title, operations = operations_of(recipe)
    operations = with_starts(with_settings(operations, settings, words), warm_start)
    return decide(subject, title, operations, seed=seed, trained=trained, calibrated=calibrated, seen=seen)
