"""Plan a surgery: what a recipe would do to a network, decided as data before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from surgeon.arguments import checked_seed
from surgeon.edits import Note, Plan
from surgeon.graph.comparing.beyond import leaves_alone
from surgeon.graph.sites.survey import Survey
from surgeon.graph.trees.one_at_a_time import one_at_a_time
from surgeon.host import in_own_state
from surgeon.methods.needs import needs_data
from surgeon.plans_made import noted
from surgeon.recipe.asked import RecipeLike, keyed, operations_of
from surgeon.recipe.starts import WarmStart, with_starts
from surgeon.recipe.worded import with_settings
from surgeon.surgery.deciding import decide
from surgeon.surgery.door import admitted
from surgeon.surgery.looking import looked
from surgeon.surgery.replaying import replay


@one_at_a_time
@in_own_state()
@leaves_alone
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
    """Decide what `recipe` would do to `model`, without changing it.

    Args:
        model: The network.
        recipe: A shipped name (several joined by '+'), a YAML file, a Recipe, an Operation, a mapping, or a
            list of these.
        input_size: (C, H, W) without the batch axis, or (C, T, H, W) for video. Default: that of an
            earlier surgery, else the size in the model's own configuration.
        seed: Seed of every random choice, from 0 to 2³² − 1. The same seed gives the same plan and the same
            cut.
        trained: Whether the weights are trained. Default: read off the batch norms' running statistics.
        calibrated: Whether `apply` will get calibration images, which allow better starts.
        stack: Allow a network that has already had surgery; the plan then holds only the new edits.
        seen: What `look` returned for this network at this size, so that several plans share it.
        warm_start: How trained weights are carried over, instead of the operations' own `start` setting: one
            start for every operation that has it ("lstsq", "sequential", "replicate", "anneal", "naive";
            "distill", "mean"), or {operation: start}.
        settings: The same as `words`, as a mapping. A key may name the operation, {"kap.kernel_size": 5}:
            needed if several operations have the setting, or if it has the name of an argument of this
            function.
        **words: Settings of the recipe's operations, such as `kernel_size=5`, which override the recipe.

    Returns:
        The plan: every edit, the sites passed over with reasons, costs and notes. `print(plan)` shows it.

    Raises:
        RecipeError: The recipe, an operation or a setting is unknown or malformed.
        SelectionError: An operation finds no usable site.
        SurgeryError: torch.fx can trace no part of the network; it has already had surgery and `stack` is
            False; it cannot be copied; or it does not run at `input_size`.

    Examples:
        >>> import surgeon
        >>> plan = surgeon.plan(surgeon.create_model("zoo/shallow2"), "kap", kernel_size=5)
        >>> plan.effect, plan.folds
        ('destroyed', True)
        >>> plan.edits[1].site, plan.edits[1].layer
        ('features.conv1', 'features.conv1.kap')
    """
    seed = checked_seed(seed)
    subject = admitted(model, input_size, stack=stack)
    title, operations = operations_of(recipe)
    operations = with_starts(with_settings(operations, settings, words), warm_start)
    by_key = keyed(operations, subject.record)
    made = decide(looked(subject, seen), title, by_key, seed=seed, trained=trained, calibrated=calibrated)
    if subject.record is None and any(e.settings.get("changes_channels") for e in made.edits):
        replay(model, made, consume=False)  # which refuses channels that do not fit together
    return noted(made if calibrated else _with_need(made))


def _with_need(made: Plan) -> Plan:
    """Say in a plan that was made without images if carrying it out takes some."""
    if not (words := needs_data(made)):
        return made
    note = Note(code="images", severity="info", text=f"starts from calibration images: {words}")
    return made.model_copy(update={"notes": (*made.notes, note)})
