"""A folder's network, rebuilt from its configuration and its record, before its weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from surgeon.edits import Plan
from surgeon.errors import ArgumentError, ArtifactError, ArtifactWarning, ModelError, SurgeonError, either
from surgeon.graph.rewritten.module_tree import bare
from surgeon.graph.trees.fingerprints import fingerprint, hashes_of_layers
from surgeon.graph.trees.own_modes import in_evaluation
from surgeon.methods.registry import names
from surgeon.models import own
from surgeon.models.creating import bare_of_robustbench, create_model
from surgeon.models.facts import ASSUMED, ORIGIN
from surgeon.models.preparation import STRETCHED, configure, configured
from surgeon.models.robustbench import is_robustbench
from surgeon.store import unnamed
from surgeon.store.beyond_name import beyond_name, set_again
from surgeon.store.blank import Blank
from surgeon.store.budget import check_record, held, within
from surgeon.store.configuration import ORIGINAL, Configuration, described
from surgeon.store.folder import (
    CONFIG,
    WEIGHTS,
)
from surgeon.store.model_arguments import check_taken
from surgeon.strict import shown
from surgeon.surgery import replay
from surgeon.surgery.folding import folded_network
from surgeon.warned import warn
from surgeon.wrappers import place_inside

_ALWAYS_RECORDED = ("surgeon", "python", "torch", "timm", "torchvision")
"""The versions of every record; others are those of packages whose operations were used."""


def rebuilt(folder: Path, config: Configuration, record: Plan | None, model: nn.Module | None) -> nn.Module:
    """Rebuild a folder's network, with its surgery, before its weights are loaded.

    Args:
        folder: the folder, for messages and for the size of its files of weights.
        config: its configuration.
        record: the record of its surgery; None for a stock network.
        model: the stock network to rebuild upon, which is not changed; None to make it by name.

    Returns:
        The network. Its weights are arbitrary; no tensor is shared with `model`.

    Raises:
        ArtifactError: configuration and record do not give a network, or give one far larger than the files
            of weights.
    """
    # A factory of own code may keep the module that it returns.
    ours = model is None and not own.is_own(config.architecture)
    place = str(folder / CONFIG)
    weights = held(folder / WEIGHTS, folder / ORIGINAL)
    try:
        with within(weights, place):
            if record:
                check_record(record, weights, place)
            folded = config.changed_by_fold
            if folded:
                check_record(folded, weights, place)
            if config.exchanged is not None:
                _check_exchanged(model, config, folder)
            elif model is not None and config.layers:
                _tell_other_layers(model, config, folder)
            stock = stock_of(config, folder) if model is None else model
            if folded:
                network = folded_again(stock, folded, consume=ours)
                set_again(network, config.settings, place)
                _prepared(network, config)
                return network
            if model is None and config.settings:
                stock = stock if ours else bare(stock)[0]
                set_again(stock, config.settings, place)
            if record:
                network = replay(stock, record, consume=ours, structure=config.structure)
                set_again(network, config.implants, place)
            else:
                network = stock if ours else bare(stock)[0]
            _prepared(network, config)
            return network
    except SurgeonError:
        raise
    except Exception as error:  # libraries and layers raise anything on bad arguments
        text = " ".join(str(error).split())[:200] or "no reason is given"
        raise ArtifactError(
            f"{place}: {config.architecture} cannot be rebuilt as it says ({type(error).__name__}: {text})"
        ) from error


def folded_again(stock: nn.Module, record: Plan, *, consume: bool) -> nn.Module:
    """Cut and fold a stock network again, for weights that are loaded afterwards.

    Args:
        stock: the stock network.
        record: the record of the surgery, which exchanges layers.
        consume: whether the network belongs to no one else.

    Returns:
        The folded network, whose weights are arbitrary.
    """
    # What code changed before or after is compared with the result, and the weights must fit it.
    return folded_network(replay(stock, record, consume=consume, structure=fingerprint(stock)))


def check_operations(record: Plan | None, place: str) -> None:
    """Check that the operations of a record are installed.

    Args:
        record: the record of a surgery, if there is one.
        place: its file, for messages.

    Raises:
        ArtifactError: one is not known here: another package has it.
    """
    if record is None:
        return
    known = names()
    missing = [
        o for o in (str(settings.get("op", "")) for settings in record.operations.values()) if o not in known
    ]
    if not missing:
        return
    others = {
        k: v
        for k, v in (record.execution.versions if record.execution else {}).items()
        if k not in _ALWAYS_RECORDED
    }
    written = ", ".join(f"{name} {version}" for name, version in others.items())
    raise ArtifactError(
        f"{place}: unknown operation {shown(missing[0])}: another package has it, which is not installed here; "
        + (f"install that package (the record names {written})" if written else "install that package")
    )


def _prepared(network: nn.Module, config: Configuration) -> None:
    """Have a network's images sized, resized and normalised as its folder says, also where nothing else says it."""
    saved = config.pretrained_cfg.model_dump(exclude_unset=True)
    said = {k: saved[k] for k in ("input_size", *STRETCHED) if saved.get(k) is not None}
    if saved.get("mean") and saved.get("std"):
        said |= {k: saved[k] for k in ("mean", "std")}
    if said:
        configure(network, {**(configured(network) or {}), **said})
    origin = network.__dict__.get(ORIGIN)
    if origin is not None:
        sized = {"input_size": list(said["input_size"])} if "input_size" in said else {}
        network.__dict__[ORIGIN] = {**origin, **sized, ASSUMED: config.normalisation == ASSUMED}


def _check_exchanged(model: nn.Module | None, config: Configuration, folder: Path) -> None:
    """Raise ArtifactError unless `model` (if None, the network made by name) is the one that was written."""
    wanted = config.exchanged or {}
    if model is None:
        if wanted:
            raise ArtifactError(
                f"{folder}: the network was changed in code after it was made, or made with other arguments: "
                f"{listed(wanted)}; "
                + either(
                    "pass a network with the same changes, before any surgery: surgeon.load(folder, model=…)",
                    "load it from Python, with a network of the same changes, before any surgery",
                )
            )
        return
    if name := place_inside(model):
        raise ArgumentError(
            f"{folder}: model is a network in {type(model).__name__}: give model.{name}, which is the network"
        )
    stock = stock_of(config, folder)
    if folded := config.changed_by_fold:
        model, stock = (folded_again(m, folded, consume=False) for m in (model, stock))
    beyond = beyond_name(model, stock)
    saved, now = {**wanted, **config.settings}, {**beyond.exchanged, **beyond.settings}
    other = [k for k in {**saved, **now} if saved.get(k) != now.get(k)]
    if other:
        name = other[0]
        more = f", and {len(other) - 1} more" if len(other) > 1 else ""
        raise ArtifactError(
            f"{folder}: model is not the network that was written: {name} was {_as(saved, name)}, and is "
            f"{_as(now, name)}{more}; make the same changes to it before, and no others"
        )


def _tell_other_layers(model: nn.Module, config: Configuration, folder: Path) -> None:
    """Warn where `model` has modules of other classes or settings than the network that was written, of no name."""
    now = hashes_of_layers(model)
    other = [k for k in {**config.layers, **now} if config.layers.get(k) != now.get(k)]
    if other:
        name = other[0] or "the network itself"
        more = f" (and {len(other) - 1} more)" if len(other) > 1 else ""
        warn(
            f"{folder}: {name}{more} has another class or other settings in model than in the one that was written, "
            "so that another function is computed with its weights: give the network as it was before the surgery",
            ArtifactWarning,
        )


def _as(config: Mapping[str, Any], name: str) -> str:
    """How a part is, among those that differ from what the name makes."""
    return str(config[name]) if name in config else "as its name makes it"


def stock_of(config: Configuration, folder: Path) -> nn.Module:
    name, size = config.architecture, config.pretrained_cfg.input_size
    if ":" in name and not own.is_own(name) and not is_robustbench(name):
        raise ArtifactError(
            f"{folder / CONFIG} points to other files ({name}), which a folder must not; nothing was read"
        )
    unnamed.check(name, folder)
    check_taken(name, config.model_args, str(folder / CONFIG))
    try:
        if config.unwritten_args:
            raise ModelError(
                f"its arguments {list(config.unwritten_args)} are not written: they were not "
                "plain data, or said where weights are"
            )
        with Blank():
            made = (
                bare_of_robustbench(name)
                if is_robustbench(name)
                else create_model(
                    name,
                    num_classes=None if own.is_own(name) else config.num_classes,
                    input_size=size,
                    model_args=config.model_args,
                )
            )
    except ArtifactError:
        raise
    except SurgeonError as error:
        raise ArtifactError(
            f"{folder}: {name} cannot be rebuilt by name ({error}); "
            + either(
                "pass the stock network: surgeon.load(folder, model=…)",
                "load it from Python, with the stock network",
            )
        ) from error
    known = configured(made)
    if known is not None:  # the saved tag may differ from the name's default
        configure(made, described(known) | config.pretrained_cfg.model_dump(exclude_unset=True))
    return in_evaluation(made)  # as what is written is


def listed(exchanged: Mapping[str, str]) -> str:
    parts = [f"{k} is {v}" for k, v in exchanged.items()]
    return "; ".join(parts[:3]) + (f"; and {len(parts) - 3} more" if len(parts) > 3 else "")
