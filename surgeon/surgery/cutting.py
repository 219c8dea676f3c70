"""Carry a plan out."""

from __future__ import annotations

import torch
from torch import fx, nn
from torch.nn.parameter import is_lazy

from surgeon.edits import Plan
from surgeon.errors import SurgeryError
from surgeon.graph.left_alone import left_alone
from surgeon.graph.one_at_a_time import one_at_a_time
from surgeon.graph.region import Region
from surgeon.graph.survey import find_regions
from surgeon.host import in_own_state
from surgeon.methods.registry import parse
from surgeon.surgery.attempt import Attempt
from surgeon.surgery.door import Subject, admitted
from surgeon.surgery.functions import hang_functions
from surgeon.surgery.hanging import cut_tree
from surgeon.surgery.recording import combined
from surgeon.surgery.standing import remember
from surgeon.surgery.tree import Displaced, bare, carve
from surgeon.values import has_values


def check_plan(subject: Subject, made: Plan) -> None:
    """Check that a plan can be carried out on a network.

    Args:
        subject: The network.
        made: The plan.

    Raises:
        SurgeryError: The plan is for another network or too large, or the network's tensors have no values.
    """
    _refuse_empty(subject.model)
    if subject.fingerprint != made.fingerprint:
        raise SurgeryError(
            f"the plan was made for {made.model} (fingerprint {made.fingerprint}), not for this "
            f"{type(subject.model).__name__} (fingerprint {subject.fingerprint}); make it anew with surgeon.plan"
        )
    large = [n.text for n in made.notes if n.code == "too-large"]
    if large:
        raise SurgeryError(large[0])


def cut(subject: Subject, made: Plan, regions: list[Region], *, copy: bool) -> Attempt:
    """Carry a plan out on a copy of the network.

    Args:
        subject: The network.
        made: The plan.
        regions: The traceable regions of the network as it is.
        copy: False shares parameters and buffers with the network.

    Returns:
        The network after the cut, not yet started from images.
    """
    operations = {k: parse(o) for k, o in made.operations.items()}
    tree, displaced = bare(subject.model, share=not copy)
    hang_functions(tree, regions, made.edits)
    residuals = cut_tree(tree, made.edits, operations, displaced, made.recipe)
    record = combined(subject.record, made) if subject.record else made
    rewritten = _carved(tree, record, made, regions, displaced)
    return Attempt(rewritten, tree, made, record, operations, displaced, residuals)


@one_at_a_time
@in_own_state()
def replay(model: nn.Module, record: Plan, *, consume: bool) -> nn.Module:
    """Make the cuts of an executed plan on a stock network whose weights are loaded afterwards.

    Args:
        model: The stock network.
        record: The plan.
        consume: The network belongs to no one else and may be cut itself; False cuts a copy.

    Returns:
        The rewritten network, with values that are yet to be loaded.

    Raises:
        SurgeryError: The plan is for another network.
    """
    check_plan(admitted(model, record.input_size, stack=True), record)
    operations = {k: parse(o) for k, o in record.operations.items()}
    tree, displaced = (model, Displaced()) if consume else bare(model)
    regions = regions_of(tree, record)
    hang_functions(tree, regions, record.edits)
    cut_tree(tree, record.edits, operations, displaced, record.recipe, blank=True)
    rewritten = _carved(tree, record, record, regions, displaced)
    rewritten.__dict__["surgery"] = record
    remember(displaced, rewritten, record.edits)
    rewritten.__dict__["displaced"] = displaced
    return rewritten


def regions_of(tree: nn.Module, made: Plan) -> list[Region]:
    """Find the traceable regions of a network, on a copy: tracing lets a network write to its own attributes.

    Args:
        tree: The network, which is left untouched.
        made: A plan for it, with its input size and the modules that must keep their code.

    Returns:
        The regions.
    """
    return find_regions(bare(tree, share=True)[0], made.input_size, made.refused)


def _carved(
    tree: nn.Module, record: Plan, made: Plan, regions: list[Region], displaced: Displaced
) -> nn.Module:
    """Give the tree its graphs, and check that they fit together if channels have changed."""
    if any(r.example for r in regions) and any(parse(o).reshapes for o in made.operations.values()):
        regions = regions_of(tree, record)  # the examples' shapes have changed
    rewritten = carve(tree, regions, record.edits, displaced)
    if any(e.settings.get("changes_channels") for e in made.edits):
        _check_fits(rewritten, record)
    return rewritten


def _check_fits(rewritten: nn.Module, record: Plan) -> None:
    """Raise SurgeryError, naming the node, if the network does not run on a black image."""
    if record.input_size is None or not isinstance(rewritten, fx.GraphModule):
        return
    old_mode = rewritten.training
    rewritten.eval()
    try:
        with left_alone(rewritten), torch.no_grad():
            fx.Interpreter(rewritten, graph=rewritten.graph).run(torch.zeros(1, *record.input_size))
    except Exception as error:  # whatever torch raises for sizes that do not fit
        text = " ".join(str(error).split())
        node = text.partition("While executing ")[2].split(" ")[0].lstrip("%") or "?"
        raise SurgeryError(
            f"after pooling with stride and widen=False the network does not fit together at node {node}: {text[:160]}"
        ) from error
    finally:
        rewritten.train(old_mode)


def _refuse_empty(model: nn.Module) -> None:
    """Raise SurgeryError if parameters have no values: on the meta device, or fake tensors."""
    found = ((n, t) for n, t in model.named_parameters() if not is_lazy(t) and not has_values(t))
    empty, tensor = next(found, (None, None))
    if empty is not None and tensor is not None:
        raise SurgeryError(
            f"{empty} is "
            f"{'on the meta device' if tensor.device.type == 'meta' else 'a fake tensor'}, "
            "without values; a plan can be made of it, but a cut needs weights: "
            f"model.to_empty(device=…), and load them first"
        )
