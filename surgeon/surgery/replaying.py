"""Make the cuts of a record again, on a stock network whose weights are loaded afterwards."""

from __future__ import annotations

from torch import nn

from surgeon.edits import Plan
from surgeon.graph.rewritten.displaced import Displaced
from surgeon.graph.rewritten.module_tree import bare
from surgeon.graph.sites.followed import regions_of
from surgeon.graph.sites.function_modules import hang_functions
from surgeon.graph.sites.standing import remember
from surgeon.graph.trees.one_at_a_time import one_at_a_time
from surgeon.host import in_own_state
from surgeon.methods.registry import parse
from surgeon.surgery.cutting import carved, cut_tree
from surgeon.surgery.door import admitted, check_executed


@one_at_a_time
@in_own_state()
def replay(model: nn.Module, record: Plan, *, consume: bool, structure: str | None = None) -> nn.Module:
    """Make the cuts of an executed plan on a stock network whose weights are loaded afterwards.

    Args:
        model: The stock network.
        record: The plan.
        consume: The network belongs to no one else and may be cut itself; False cuts a copy.
        structure: The fingerprint of what code made of the network after the surgery; such a network is taken
            too. None if it is as it was.

    Returns:
        The rewritten network, with values that are yet to be loaded.

    Raises:
        SurgeryError: The plan is for another network, or too large.

    Examples:
        >>> import surgeon
        >>> from surgeon.surgery import replay
        >>> record = surgeon.apply(surgeon.create_model("zoo/lenet5"), "kwta").surgery
        >>> rewritten = replay(surgeon.create_model("zoo/lenet5"), record, consume=True)
        >>> rewritten.surgery == record
        True
    """
    check_executed(admitted(model, record.input_size, stack=True), record, structure)
    operations = {k: parse(o) for k, o in record.operations.items()}
    tree, displaced = (model, Displaced()) if consume else bare(model)
    regions = regions_of(tree, record)
    hang_functions(tree, regions, record.edits)
    cut_tree(tree, record.edits, operations, displaced, record.recipe, blank=True)
    rewritten = carved(tree, record, record, regions, displaced)
    rewritten.__dict__["surgery"] = record
    remember(displaced, rewritten, record.edits)
    rewritten.__dict__["displaced"] = displaced
    return rewritten
