"""Save a network to a folder and load it again.

A folder holds `model.safetensors` and a `config.json` that timm can read, with the record of the surgery
in it. Where the surgery replaced tensors, the folder also has `original.safetensors` with the replaced
ones, from which `surgeon.revert` restores the stock network.
"""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.disk.files import path_given
from surgeon.disk.stored import stored
from surgeon.disk.writing import shared, telling
from surgeon.errors import ArtifactWarning, SurgeonError, either
from surgeon.extra_state import in_tensors, left_out
from surgeon.graph.rewritten.network import Rewritten
from surgeon.graph.trees.implants import changed
from surgeon.graph.trees.own_modes import demand_settled
from surgeon.host import in_own_state
from surgeon.models import own
from surgeon.models.checkpoints import check_fit, lay_on, read_weights, versioned
from surgeon.models.creating import create_model
from surgeon.models.finite import all_finite, check_finite_weights, not_finite
from surgeon.models.handed_on import unsaid
from surgeon.models.source_code import changed_code, code_of
from surgeon.models.tensor_files import same_tensors
from surgeon.models.weight_files import tensors_in
from surgeon.ownership import new_folder
from surgeon.processes import usable_device
from surgeon.store import hub
from surgeon.store.after_its_name import after_its_name, for_surgeon_alone
from surgeon.store.altered import altered, altered_at_rest
from surgeon.store.beyond_name import can_be_set
from surgeon.store.configuration import LINEAGE, ORIGINAL
from surgeon.store.displaced import displaced_state, restore_displaced
from surgeon.store.dropped import dropped, first_of, not_loaded
from surgeon.store.folder import (
    CONFIG,
    WEIGHTS,
    check_hashes,
    check_present,
    config_of,
    hashed_entries,
    hashes_of,
    network_in,
    read_config,
    record_of,
    tell_unverified,
)
from surgeon.store.hooks import told_of_hooks
from surgeon.store.precision import take_precision
from surgeon.store.rebuilding import check_operations, rebuilt
from surgeon.surgery.door import findings
from surgeon.surgery.parts import demand_uncut, demand_whole
from surgeon.surgery.standing import demand
from surgeon.warned import warn
from surgeon.wrappers import refuse_wrapped

_LOADED_FROM = "loaded_from"
"""The attribute of a loaded network that holds the path of its folder."""


@in_own_state()
def save(
    model: nn.Module,
    folder: str | Path,
    *,
    overwrite: bool = False,
    model_args: Mapping[str, Any] | None = None,
    beside: Mapping[str, str] | None = None,
) -> Path:
    """Write a network, rewritten or stock, to a folder.

    Args:
        model: the network. It is not changed.
        folder: the folder to write. It appears only when all of its files are complete.
        overwrite: replace a network that surgeon wrote there before. Nothing else is ever replaced.
        model_args: the arguments of `timm.create_model` that made the network. Needed only for a network that
            does not remember them; one made by `surgeon.create_model` does.
        beside: further text files, name → text, written in the same step.

    Returns:
        `folder` as a path.

    Raises:
        ArgumentError: the network is wrapped (by `torch.compile`, `DataParallel` or as an average) or compiled by
            TorchScript.
        ArtifactError: the folder exists or is in use, the disk is full, or a weight cannot be stored as a
            plain tensor (quantised, distributed, sparse, on the meta device). Nothing is left half-written.
        SurgeryError: a site is no longer what the surgery left there, or code changed the network so that it no
            longer runs; the folder would not load. Or a part of the network, and not the network itself, has had
            surgery, of which the folder would say nothing. Or it is in training mode, and its weights are others
            after its own `eval()`, as where that merges some.

    Warns:
        ArtifactWarning: weights are NaN or infinite, which `surgeon.load` refuses; the network hands images on as they
            are to one inside it that says how they are normalised, and does not say it itself; the network differs from
            what its name and arguments make (channels pruned, modules exchanged or added, own code without a name), so
            that `surgeon.load` needs a network with the same changes, before any surgery, as `model=…`; hooks on its
            modules change its outputs or gradients, which is tried on two images where there are hooks; hooks on its
            state dict leave tensors out or change their values; or a module's
            extra state (`get_extra_state`) is not a tensor and was left out.

    Examples:
        >>> import tempfile, surgeon
        >>> rewritten = surgeon.apply(surgeon.create_model("zoo/lenet5"), "kap")
        >>> with tempfile.TemporaryDirectory() as place:
        ...     folder = surgeon.save(rewritten, f"{place}/network")
        ...     sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
        ['config.json', 'model.safetensors']
    """
    changed_sites = findings(model)
    demand_whole(model)
    refuse_wrapped(model, "save")
    demand_settled(model)
    demand([f for f in changed_sites if not f.loads], "saved")
    for part in model.modules():
        if isinstance(part, Rewritten):
            part.anchor()  # a network whose next call is refused would not load
    with new_folder(folder, overwrite=overwrite) as work:
        state = model.state_dict()
        _write(stored(in_tensors(state)), work / WEIGHTS, Path(folder) / WEIGHTS)
        displaced = displaced_state(model)
        if displaced:
            _write(displaced, work / ORIGINAL, Path(folder) / ORIGINAL)
        config = config_of(model, dict(model_args or {}))
        config |= after_its_name(model, config, Path(folder))
        config |= _implants(model, Path(folder))
        config |= hashed_entries(model, work, bool(displaced))
        config |= for_surgeon_alone(model, config)
        config |= {"code": code} if (code := code_of(model)) else {}
        (work / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for name, text in {**_lineage(model, work), **(beside or {})}.items():
            (work / name).write_text(text + "\n", encoding="utf-8")
    if said := unsaid(model):
        warn(f"{folder} says nothing of how images are normalised: {said}", ArtifactWarning)
    if words := not_finite(model):
        warn(f"{folder} {words}; surgeon.load refuses it", ArtifactWarning)
    if hooks := told_of_hooks(model):
        warn(f"{folder} does not hold all of this network: {hooks}", ArtifactWarning)
    if absent := dropped(model, state):
        warn(
            f"{folder} does not hold {first_of(absent)}: the network's state dict is without, as a hook on it leaves "
            "it out, and surgeon.load refuses the folder unless the network's own loading can do without; take such "
            "hooks off to save",
            ArtifactWarning,
        )
    if others := [*altered(model, state), *altered_at_rest(model)]:
        warn(
            f"{folder} holds other values of {first_of(others)} than this network computes with: a hook on its state "
            "dict changes them, and surgeon.load gives the changed ones to any network without a hook that changes "
            "them back; take such hooks off to save",
            ArtifactWarning,
        )
    if lost := left_out(state):
        more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        warn(
            f"{lost[0]}{more} is not a tensor, and was left out of {folder}, which holds tensors "
            "alone: surgeon.load keeps what the "
            "network has that is given to it as model=…, or that its name makes",
            ArtifactWarning,
        )
    return Path(folder)


def _lineage(model: nn.Module, work: Path) -> dict[str, str]:
    """The lineage.json of the folder that a network was loaded from, if its weights are still the same."""
    source = model.__dict__.get(_LOADED_FROM)
    try:
        if source is None or not same_tensors(source / WEIGHTS, work / WEIGHTS):
            return {}
        return {LINEAGE: (source / LINEAGE).read_text(encoding="utf-8").rstrip("\n")}
    except (OSError, SurgeonError):  # the folder is gone, has no record, or was damaged since
        return {}


def _implants(model: nn.Module, folder: Path) -> dict[str, Any]:
    """Settings of modules that a surgery put in, and that are not as it left them: a key for the configuration."""
    differing = changed(model)
    lost = {k: (now, old) for k, (now, old) in differing.items() if not can_be_set(now, old)}
    if lost:
        name, (now, old) = next(iter(lost.items()))
        more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        warn(
            f"{name} is {now!r}, and the surgery left {old!r}{more}: {folder} does not hold that, and the loaded "
            "network has what the surgery left",
            ArtifactWarning,
        )
    kept = {
        k: list(now) if isinstance(now, tuple) else now for k, (now, _) in differing.items() if k not in lost
    }
    return {"implants": kept} if kept else {}


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Switch off Python's garbage collector inside.

    Building a network makes many objects, all of which are kept. The collector would traverse every object of
    the process again and again without freeing any.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@in_own_state()
@_uncollected()
def load(
    folder: str | Path,
    *,
    model: nn.Module | None = None,
    device: str | torch.device = "cpu",
    mapped: bool = False,
    allow_code: Iterable[str] = (),
) -> nn.Module:
    """Load the network in a folder that `save` wrote, with its surgery applied again.

    Args:
        folder: the folder; that of a run, whose trained network is loaded; or `hf-hub:owner/name` for a
            repository of the Hugging Face Hub, with `@revision` appended for another revision than the main
            branch. timm loads a repository that surgeon did not write.
        model: the network as it was before any surgery, for one that cannot be made by name; with what code
            changed of it after the surgery, as `surgeon.revert` gives it. It is not changed.
        device: the device to put the network on.
        mapped: map the parameters from the file instead of copying them. Processes that load the same folder
            then share memory, and a page is copied when it is written to. The file must not change while the
            network is in use (`save` replaces files and never writes into one). Outputs are equal up to
            rounding, since tensors in a file are aligned differently. No effect on devices other than the
            CPU.
        allow_code: modules, such as `package.module`, that a folder may import to build a network of your own
            code. No other module is imported, whatever the folder says.

    Returns:
        The network, in evaluation mode and in the precision that it was saved in.

    Raises:
        ArgumentError: this machine has no such device.
        ArtifactError: the folder is incomplete, was changed after it was written (hashes), holds a network
            that cannot be rebuilt here, or names code that is not allowed.
        SurgeryError: `model`, or a part of it, has had surgery, or would change in its own `eval()`.

    Warns:
        ArtifactWarning: nothing states a hash of the weights, as where another program wrote the folder: whether
            they were changed is not known; the source of the network's own classes has changed since; or `model` has
            modules of other classes or settings than the network that was saved.

    Examples:
        >>> import tempfile, surgeon, torch
        >>> rewritten = surgeon.apply(surgeon.create_model("zoo/lenet5"), "kap").eval()
        >>> with tempfile.TemporaryDirectory() as place:
        ...     network = surgeon.load(surgeon.save(rewritten, f"{place}/network"))
        >>> images = torch.rand(2, 1, 28, 28)
        >>> torch.equal(network(images), rewritten(images))
        True
    """
    if model is not None:
        demand_uncut(model)
        demand_settled(model)
    shown, device = str(folder), usable_device(device, values=False)
    if hub.is_hub(folder):
        place = hub.folder_of(folder)
        if place is None:
            return create_model(str(folder), pretrained=True).to(device).eval()
        folder = place
    folder = network_in(path_given(folder))
    config = read_config(folder)
    architecture = config.architecture
    if model is None and own.is_own(architecture):
        allowed = [allow_code] if isinstance(allow_code, str) else allow_code
        own.check_allowed(architecture, allowed, shown)
    record, hashes = record_of(config), hashes_of(folder, config)
    check_operations(record, str(folder / CONFIG))
    check_present(folder, hashes)
    tell_unverified(folder, hashes)
    # Whole files are read to check them, so that runs beside the building of the network.
    with ThreadPoolExecutor(1) as beside:
        checked = beside.submit(_unchanged_and_finite, folder, hashes)
        with _by_name(architecture, model):
            network = rebuilt(folder, config, record, model)
        finite = checked.result()
    weights = read_weights(folder / WEIGHTS, names=network.state_dict())
    take_precision(network, weights)
    with _by_name(architecture, model):
        check_fit(network, weights, str(folder / WEIGHTS))
    if not finite:
        check_finite_weights(network, weights, str(folder / WEIGHTS))
    if mapped or device.type != "cpu":
        weights = lay_on(network, weights)
    try:
        network.load_state_dict(versioned(network, weights))
    except RuntimeError as error:
        raise not_loaded(network, folder / WEIGHTS, error) from error
    if record and ORIGINAL in hashes:
        restore_displaced(network, read_weights(folder / ORIGINAL), folder / ORIGINAL)
    if code := changed_code(config.code, code_of(network)):
        warn(
            f"the code of {', '.join(code)} has changed since {folder} was written: the network computes what its code "
            "says now, with the weights of then; put the code back, or measure the network anew",
            ArtifactWarning,
        )
    network.__dict__[_LOADED_FROM] = folder.resolve()
    if config.surgery and config.surgery.folded:
        network.__dict__["folded_from"] = config.surgery.plan
    return network.to(device).eval()


def _unchanged_and_finite(folder: Path, hashes: dict[str, str]) -> bool:
    """Check the hashes of a folder, and look whether its weights are finite: a changed file is refused unread."""
    check_hashes(folder, hashes)
    return all_finite(tensors_in(folder / WEIGHTS).values())


@contextlib.contextmanager
def _by_name(architecture: str, model: nn.Module | None) -> Iterator[None]:
    """Add a remedy to errors about a network made by name: it may have been changed after it was made."""
    try:
        yield
    except SurgeonError as error:
        if model is not None or "model=" in str(error):
            raise
        remedy = either(
            "pass it as it was: surgeon.load(folder, model=…)",
            "load it from Python, where it can be passed as model=…",
        )
        error.advising(
            f"if the network was changed after {architecture} made it (channels pruned, layers exchanged), or made "
            f"with other arguments, {remedy}"
        )
        raise


def folder_of(name: str | Path) -> Path | None:
    """Find the folder that a model's name refers to.

    Args:
        name: a folder, `hf-hub:owner/name`, or any other name of a model.

    Returns:
        The folder on disk, or that of a downloaded repository that surgeon wrote; None for other names.

    Raises:
        ArtifactError: a repository cannot be read (see `surgeon.store.hub.fetch`).
    """
    return Path(name) if Path(name).is_dir() else hub.folder_of(name)


def _write(tensors: dict[str, Tensor], path: Path, place: Path) -> None:
    """Write tensors to `path`; `place` is the file's final path, for an error message."""
    from safetensors.torch import save_file

    with telling(place), shared(path):
        save_file(tensors, path, metadata={"format": "pt"})
