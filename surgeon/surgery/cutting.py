"""Carry a plan out: put the modules of every edit into a copy of the tree, and give it its graphs."""

from __future__ import annotations

import copy as copying
from collections.abc import Iterable, Mapping

import torch
from torch import fx, nn

from surgeon.edits import Edit, Plan
from surgeon.errors import SurgeryError, SurgeryWarning, either, located
from surgeon.graph.rewritten.displaced import Displaced
from surgeon.graph.rewritten.module_tree import bare, carve, hang, match, open_site, put, shared_in
from surgeon.graph.rewritten.region import Region
from surgeon.graph.sites.followed import regions_of
from surgeon.graph.sites.function_modules import hang_functions
from surgeon.graph.trees.bound_hooks import bind_to, bound_in, hand_over, on_state_dict, rebind
from surgeon.graph.trees.left_alone import left_alone
from surgeon.graph.trees.parameters import take_after
from surgeon.methods.base import Operation
from surgeon.methods.needs import needs_data, restates
from surgeon.methods.registry import parse
from surgeon.selection import INPUT
from surgeon.surgery.attempt import Attempt
from surgeon.surgery.door import Subject
from surgeon.tensors.instead import Instead
from surgeon.tensors.memory_format import lay, memory_format_of
from surgeon.warned import warn


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
    earlier = subject.record.edits if subject.record else ()
    residuals = cut_tree(tree, made.edits, operations, displaced, made.recipe, earlier=earlier)
    record = _combined(subject.record, made) if subject.record else made
    rewritten = carved(tree, record, made, regions, displaced)
    searches = {key: operation.search() for key, operation in operations.items()}
    searching = {key: asked for key, asked in searches.items() if asked is not None}
    return Attempt(
        network=rewritten,
        tree=tree,
        made=made,
        record=record,
        operations=operations,
        displaced=displaced,
        residuals=residuals,
        approximates=restates(made),
        searching=searching,
        fits=bool(needs_data(made) or searching),
    )


def _combined(previous: Plan, made: Plan) -> Plan:
    """Join the records of two surgeries; the execution is the first one's, until the second is carried out."""
    return made.model_copy(
        update=dict(
            recipe=f"{previous.recipe}+{made.recipe}",
            operations={**previous.operations, **made.operations},
            edits=(*previous.edits, *made.edits),
            passed_over=(*previous.passed_over, *made.passed_over),
            refused={**previous.refused, **made.refused},
            before=previous.before,
            notes=(*previous.notes, *made.notes),
            execution=previous.execution,
        )
    )


def cut_tree(
    tree: nn.Module,
    edits: Iterable[Edit],
    operations: Mapping[str, Operation],
    displaced: Displaced | None = None,
    recipe: str = "",
    *,
    earlier: Iterable[Edit] = (),
    blank: bool = False,
) -> dict[str, float]:
    """Build every edit's modules and put them into the tree, in place.

    Args:
        tree: The network as a plain tree.
        edits: The edits, in order.
        operations: The operations by key.
        displaced: Collects the modules that are taken out, or None.
        recipe: Name of the recipe, for error messages.
        earlier: The edits of earlier surgery, whose layers are in the tree.
        blank: Weights are loaded afterwards, so that starts do not matter.

    Returns:
        The relative errors of least-squares starts, by site.

    Raises:
        SurgeryError: The network has no module that an edit names. Errors of operations name recipe and site.
    """
    residuals: dict[str, float] = {}
    edits, earlier, shared = tuple(edits), tuple(earlier), shared_in(tree)
    bound = bound_in(tree)
    channels_last = _in_channels_last(tree)
    for edit in edits:
        operation = operations[edit.operation]
        module = None if edit.site == INPUT else _module(tree, edit)
        generator = torch.Generator().manual_seed(edit.seed)
        try:
            # Constructors of modules draw from the global generator: without a seed no cut could be repeated.
            with torch.random.fork_rng(devices=[]):
                torch.random.default_generator.manual_seed(edit.seed)
                cut = (operation.rebuild if blank else operation.build)(edit, module, generator)
        except Exception as error:  # an operation of another package may raise anything
            place = f"{recipe}: " if recipe and recipe != edit.operation else ""
            located(error, f"{place}{edit.operation} at {edit.site}")
            raise
        for made in (cut.replacement, cut.layer) if channels_last else ():
            if made is not None:
                lay(made, torch.channels_last)
        if cut.replacement is not None and module is not None:
            if displaced is not None and edit.site not in displaced.modules:
                displaced.modules[edit.site] = _without_children(module, (*earlier, *edits))
                if on_state_dict(module) and not blank:
                    warn(
                        f"{edit.site}: hooks on its state dict, which know its own tensors, rest with it while "
                        f"{type(cut.replacement).__name__} stands there; surgeon.revert puts both back",
                        SurgeryWarning,
                    )
            hand_over(module, cut.replacement)
            take_after(cut.replacement, module)
            if next(module.parameters(), None) is None:  # it could not say where the new one belongs
                match(tree, module, cut.replacement)
            if isinstance(cut.replacement, Instead):
                cut.replacement.stands_for(edit.site, module)
            put(tree, edit.site, cut.replacement, shared)
        if cut.layer is not None and edit.layer is not None:
            if module is not None:
                open_site(tree, edit.site, shared)
            hang(tree, edit.layer, cut.layer)
        if cut.residual is not None:
            residuals[edit.site] = cut.residual
    rebind(tree, bound)
    return residuals


def _module(tree: nn.Module, edit: Edit) -> nn.Module:
    """Return the module at an edit's site."""
    try:
        return tree.get_submodule(edit.site)
    except AttributeError:
        raise SurgeryError(f"the network has no module {edit.site}, which the plan would edit") from None


def _in_channels_last(tree: nn.Module) -> bool:
    """Say whether the network's kernels are in channels_last, as new modules then should be."""
    return any(memory_format_of(p) == torch.channels_last for p in tree.parameters())


def _without_children(module: nn.Module, edits: Iterable[Edit]) -> nn.Module:
    """Return a module without the layers that surgery inserted below it."""
    ours = {e.layer.rpartition(".")[2] for e in edits if e.layer}
    alone = copying.copy(module)
    alone._modules = {k: v for k, v in module._modules.items() if k not in ours}
    bind_to(alone, module)  # the module itself is given up
    return alone


def carved(
    tree: nn.Module, record: Plan, made: Plan, regions: list[Region], displaced: Displaced
) -> nn.Module:
    """Give the tree its graphs, and check that they fit together if channels have changed.

    Args:
        tree: The network as a plain tree with its layers, changed in place.
        record: The plan together with earlier surgery.
        made: The plan.
        regions: The traceable regions of the network before the cut.
        displaced: What the cut took out of it.

    Returns:
        The rewritten network.

    Raises:
        SurgeryError: An edit is in no region, or the changed channels do not fit together.
    """
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
            f"after pooling with {either('stride and widen=False', 'stride above 1 and widen=false')} the network does "
            f"not fit together at node {node}, which takes the channels that it had: "
            f"{either('widen=True', 'widen=true')} gives them back"
        ) from error
    finally:
        rewritten.train(old_mode)
