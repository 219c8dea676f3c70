"""`surgeon doctor`: the state of a network, and whether fold, save, export and training would work on it."""

from __future__ import annotations

import copy
import importlib.util
import math
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import nn

from surgeon.errors import ArtifactWarning, FoldError, SurgeryWarning
from surgeon.graph.measuring.measure import images_of
from surgeon.host import in_own_state
from surgeon.methods.annealed import unfinished
from surgeon.models.facts import input_size_of
from surgeon.models.logits import first_tensor
from surgeon.pipeline.chain.checking import Misfit, Unknown, checked
from surgeon.store.artifact import load, save
from surgeon.store.exporting import FORMATS, SUFFIXES, Format, export
from surgeon.store.hooks import told_of_hooks
from surgeon.surgery.door import changed_by_fold, findings, part_cut, surgery_of
from surgeon.surgery.folding import folded_network
from surgeon.verification import Check, Checks, relative, tolerance_of

_NEEDS = {"onnx": "onnxscript", "torch-export": "torch"}
"""Format of an export → the package that writes it."""


def examine(model: nn.Module, *, input_size: tuple[int, ...] | None = None) -> Checks:
    """Try what can be done with a network, on copies and in a temporary folder.

    The checks, in order:

        torch    the process's settings of torch that affect numbers
        sites    each site is as the record says; whether annealed layers have their whole effect
        forward  the outputs on two seeded images are finite
        fold     folding works; not tried where the plan says of every edit that it does not fold
        save     saving works, the folder loads, and what is loaded has the same outputs
        export   exporting works, one check per format
        train    one training step gives finite gradients

    Args:
        model: any network. It is not changed.
        input_size: (C, H, W) of one image; by default that of the surgery's record, else the model's own.

    Returns:
        One check each, a tuple. `ok` is None where it cannot be tried here, for instance without a package.

    Examples:
        >>> import surgeon
        >>> from surgeon.pipeline import examine
        >>> checks = examine(surgeon.create_model("zoo/lenet5"))  # doctest: +SKIP
        >>> [c.ok for c in checks if c.name in ("forward", "save", "train")]  # doctest: +SKIP
        [True, True, True]
    """
    return Checks([checked("torch", _state), *_tried(model, input_size)])


@in_own_state()
def _tried(model: nn.Module, input_size: tuple[int, ...] | None) -> list[Check]:
    record = surgery_of(model)
    size = input_size or (record.input_size if record else None) or input_size_of(model)
    images = _images(model, size)
    tries: list[tuple[str, Callable[[], str]]] = [
        ("sites", lambda: _sites(model)),
        ("forward", lambda: _forward(model, images)),
        ("fold", lambda: _fold(model, images)),
        ("save", lambda: _save(model, images)),
        *((f"export {kind}", lambda kind=kind: _export(model, kind, size)) for kind in FORMATS),
        ("train", lambda: _train(model, images)),
    ]
    return [checked(name, look) for name, look in tries]


def _images(model: nn.Module, size: tuple[int, ...] | None) -> list[torch.Tensor]:
    if size is None:
        return []
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(0))
    one = torch.randn(2, *size, generator=torch.Generator().manual_seed(0)).to(like)
    return [one] * images_of(model)


def _state() -> str:
    """The settings of torch that affect numbers."""
    settings = [
        f"torch {torch.__version__}",
        f"{torch.get_num_threads()} threads",
        f"default dtype {torch.get_default_dtype()}".replace("torch.", ""),
        f"float32 products {torch.get_float32_matmul_precision()}",
    ]
    here = {
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "autocast on": torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"),
        "gradients off": not torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly mode": torch.is_anomaly_enabled(),
        f"new tensors on {torch.empty(0).device}": torch.empty(0).device.type != "cpu",
    }
    return ", ".join([*settings, *(name for name, holds in here.items() if holds)])


def _sites(model: nn.Module) -> str:
    """Check that every site is as the record says."""
    record = surgery_of(model)
    if record is None:
        part = part_cut(model)
        raise Unknown(
            f"there has been no surgery{part and f' but that of {part}, which is to be looked at by itself'}"
        )
    odd = findings(model)
    if odd:
        raise Misfit("; ".join(map(str, odd)))
    sites = f"every site is as the surgery left it ({len(record.edits)} edits)"
    return "; ".join(filter(None, [sites, unfinished(model)]))


def _asked(images: list[torch.Tensor]) -> list[torch.Tensor]:
    if not images:
        raise Unknown("the input size is not known: give it")
    return images


def _forward(model: nn.Module, images: list[torch.Tensor]) -> str:
    network = copy.deepcopy(model).eval()
    with torch.no_grad():
        output = first_tensor(network(*_asked(images)))
    if output is None:
        raise Misfit("gives no tensor")
    if not bool(torch.isfinite(output).all()):
        raise Misfit(f"output {tuple(output.shape)} is not finite")
    return f"output {tuple(output.shape)} on two images of {tuple(images[0].shape[1:])}"


def _fold(model: nn.Module, images: list[torch.Tensor]) -> str:
    record = surgery_of(model)
    if record is None:
        raise Unknown("there has been no surgery")
    try:
        folded = folded_network(copy.deepcopy(model))
    except FoldError as error:
        if any(edit.folds for edit in record.edits):
            raise
        raise Unknown(f"no edit folds, as the plan says: {error}") from error
    if (difference := _differs(model, folded.eval(), images)) > tolerance_of(model):
        raise Misfit(f"folds, and its outputs differ by {difference:.1e}")
    left = surgery_of(folded)
    if changed_by_fold(folded):
        return f"gives plain layers of a changed architecture, no stock checkpoint; saved, {_save(folded, images)}"
    return f"{len(left.edits)} edits are left" if left else "gives the stock network's class"


def _save(model: nn.Module, images: list[torch.Tensor]) -> str:
    with tempfile.TemporaryDirectory() as place:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ArtifactWarning)  # loading reports it below
            folder = save(copy.deepcopy(model), Path(place) / "network")
        size = sum(p.stat().st_size for p in folder.iterdir())
        try:
            again = load(folder)
        except Exception as error:  # whatever loading raises is the finding
            raise Misfit(f"can be saved, and loads only with model=: {error}".replace(place, "…")) from error
    return f"{size / 2**20:.1f} MiB{_same(model, again, images)}"


def _same(model: nn.Module, again: nn.Module, images: list[torch.Tensor]) -> str:
    """Check that a network that was saved and loaded computes what it did, where it can be run."""
    difference = _differs(model, again, images)
    if difference > tolerance_of(model):
        why = told_of_hooks(model) or "saving keeps weights and plain settings, and this network has more"
        raise Misfit(f"loads, and its outputs differ by {difference:.1e}: {why}")
    return "" if math.isnan(difference) else ", with the same outputs when it is loaded"


def _differs(model: nn.Module, other: nn.Module, images: list[torch.Tensor]) -> float:
    """By how much another network's outputs differ, relatively, in evaluation mode; NaN where nothing can be run."""
    if not images:
        return math.nan
    outputs: list[torch.Tensor | None] = []
    with torch.no_grad(), torch.random.fork_rng():
        for network in (copy.deepcopy(model).eval(), other):
            torch.manual_seed(0)
            like = next((p for p in network.parameters() if p.is_floating_point()), images[0])
            outputs.append(first_tensor(network(*[x.to(like) for x in images])))
    before, after = outputs
    return math.nan if before is None or after is None else relative(after.cpu(), before.cpu())


def _export(model: nn.Module, kind: str, size: tuple[int, ...] | None) -> str:
    if importlib.util.find_spec(_NEEDS[kind]) is None:
        raise Unknown("pip install 'fx-surgeon[export]'")
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore", SurgeryWarning)  # the line on sites says it
        done = export(
            copy.deepcopy(model),
            Path(place) / f"network{SUFFIXES[kind]}",
            format=cast(Format, kind),
            input_size=size,
        )
    return done.check.detail


def _train(model: nn.Module, images: list[torch.Tensor]) -> str:
    network = copy.deepcopy(model).train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        output = first_tensor(network(*_asked(images)))
        if output is None:
            raise Misfit("gives no tensor")
        output.float().square().mean().backward()
    wanted = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
    bad = [n for n, p in wanted if p.grad is not None and not bool(torch.isfinite(p.grad).all())]
    if bad:
        raise Misfit(f"gradients are not finite: {', '.join(bad[:3])}")
    some = sum(p.grad is not None for _, p in wanted)
    if not some:
        raise Misfit("no parameter has a gradient")
    return f"{some} of {len(wanted)} parameters have a gradient"
