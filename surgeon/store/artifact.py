"""A network in a folder: `model.safetensors`, and a `config.json` that timm reads, with the surgery in it.

A folder of a rewritten network also has `original.safetensors`, the tensors that the surgery displaced, from
which `surgeon.revert` restores them.
"""

from __future__ import annotations

import contextlib
import gc
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from surgeon.disk.files import path_given
from surgeon.disk.stored import stored
from surgeon.disk.writing import telling
from surgeon.edits import Plan
from surgeon.errors import ArtifactError, ArtifactWarning, ModelError, SurgeonError, either
from surgeon.extra_state import in_tensors, left_out, with_extra
from surgeon.host import in_own_state
from surgeon.models import own
from surgeon.models.checkpoints import check_fit, lay_on, read_weights, renamed_for, versioned
from surgeon.models.creating import create_model
from surgeon.ownership import new_folder
from surgeon.processes import device_named
from surgeon.store import hub, unnamed
from surgeon.store.beyond_name import beyond_name, set_again
from surgeon.store.blank import Blank
from surgeon.store.budget import check_record, held, within
from surgeon.store.configuration import ORIGINAL, Configuration, described
from surgeon.store.folder import (
    CONFIG,
    WEIGHTS,
    check_hashes,
    check_present,
    config_of,
    read_config,
    read_surgery,
    surgery_entry,
)
from surgeon.store.model_arguments import check_taken
from surgeon.surgery import replay
from surgeon.surgery.standing import demand, findings
from surgeon.surgery.tree import Displaced, bare


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

    model_args: the arguments of `timm.create_model` that made it, where the network does not remember them
    (one from `surgeon.create_model` does). A network that no name can rebuild is written all the same; to
    load it, pass the stock network to `surgeon.load`. So is one made with arguments that are no plain data.
    beside: further files, name → text, that appear together with the network.

    overwrite: replace a network that surgeon wrote; nothing else is ever replaced.

    Warns where the network is not the one that its name makes (channels pruned, layers exchanged): it then is to be passed to
    `surgeon.load`; and of extra state that is no tensor (`get_extra_state`), which is left out.

    Raises ArtifactError for an existing folder, one in use, a full disk, and for weights that no file of plain tensors holds
    (quantised, spread over devices, sparse, on the meta device); nothing is left half-written. SurgeryError where a site is no
    longer what the surgery left there, so that the folder would not load.
    """
    demand([f for f in findings(model) if not f.loads], "saved")
    with new_folder(folder, overwrite=overwrite) as work:
        state = model.state_dict()
        _write(stored(in_tensors(state)), work / WEIGHTS, Path(folder) / WEIGHTS)
        displaced = _displaced_state(model)
        if displaced:
            _write(displaced, work / ORIGINAL, Path(folder) / ORIGINAL)
        config = config_of(model, dict(model_args or {}))
        config |= _beyond_name(model, config, Path(folder))
        config["surgery"] = surgery_entry(model, work, bool(displaced))
        if config["surgery"] is None:
            del config["surgery"]
        (work / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for name, text in (beside or {}).items():
            (work / name).write_text(text + "\n", encoding="utf-8")
    if lost := left_out(state):
        more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        warnings.warn(
            f"{lost[0]}{more} is no tensor, and was left out of {folder}, which holds tensors alone: surgeon.load keeps what the "
            "network has that is given to it as model=…, or that its name makes",
            ArtifactWarning,
            stacklevel=3,
        )
    return Path(folder)


def _beyond_name(model: nn.Module, config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What of a network its name does not tell, as keys of its configuration; nothing where no name makes it."""
    try:
        made = _stock(Configuration.model_validate(config), folder)
        found = beyond_name(model, made)
    except (SurgeonError, ValidationError):
        warnings.warn(unnamed.at_saving(config["architecture"], folder), ArtifactWarning, stacklevel=3)
        return {}
    if found.exchanged:
        warnings.warn(
            f"this network is not {config['architecture']} as its name makes it: {_some(found.exchanged)}. It was written to "
            f"{folder}: give it to surgeon.load as model=…, since timm, too, would make another one; where arguments made it so, save it "
            "with model_args={…}",
            ArtifactWarning,
            stacklevel=3,
        )
    return {"settings": found.settings, "exchanged": found.exchanged}


def _some(exchanged: Mapping[str, str]) -> str:
    told = [f"{k} is {v}" for k, v in exchanged.items()]
    return "; ".join(told[:3]) + (f"; and {len(told) - 3} more" if len(told) > 3 else "")


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's collector of cycles, which would look through all objects of the process again and again: what is made
    here stays."""
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
    """The network in a folder that `save` wrote, rewritten again where it was.

    folder: also `hf-hub:owner/name`, with `@revision` at the end for another than the main branch. A repository that
        surgeon did not write is timm's to load.
    model: the stock network to rebuild upon, for one that no name can rebuild; it is left untouched.
    mapped: leave parameters on the pages of their file instead of copying them: processes that load the same folder share
        its pages, and a page is copied when something writes to it. The file must then stay as it is while the network
        lives (`save` replaces files, it never writes into one). Outputs are equal up to rounding: a file aligns its
        tensors otherwise than memory does, and products depend on that. Without effect for another device than the CPU.
    allow_code: modules, such as `package.module`, that a folder of a network of your own code may import; no other
        is imported, whatever the folder says.

    Raises ArtifactError when the folder is incomplete, changed since it was written (hashes), of a
    network that cannot be rebuilt here, or names code that is not allowed.
    """
    shown, device = str(folder), device_named(device)
    if hub.is_hub(folder):
        place = hub.folder_of(folder)
        if place is None:
            return create_model(str(folder), pretrained=True).to(device).eval()
        folder = place
    folder = path_given(folder)
    config = read_config(folder)
    architecture = config.architecture
    if model is None and own.is_own(architecture):
        allowed = [allow_code] if isinstance(allow_code, str) else allow_code
        own.check_allowed(architecture, allowed, shown)
    record, hashes = read_surgery(config)
    check_present(folder, hashes)
    with ThreadPoolExecutor(1) as beside:
        hashed = beside.submit(check_hashes, folder, hashes)
        with _by_name(architecture, model):
            network = rebuilt(folder, config, record, model)
        hashed.result()  # before anything is read of a file that has changed
    weights = renamed_for(network, read_weights(folder / WEIGHTS), certain=True)
    with _by_name(architecture, model):
        check_fit(network, weights, str(folder / WEIGHTS))
    if mapped or device.type != "cpu":
        weights = lay_on(network, weights)
    network.load_state_dict(versioned(network, weights))
    if record and ORIGINAL in hashes:
        _restore_displaced(network, read_weights(folder / ORIGINAL), folder / ORIGINAL)
    return network.to(device).eval()


@contextlib.contextmanager
def _by_name(architecture: str, model: nn.Module | None) -> Iterator[None]:
    """Say of what does not fit to a network made by name that it may be another one, and how that is loaded."""
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
            f"if the network was changed after {architecture} made it (channels pruned, layers exchanged), {remedy}"
        )
        raise


def rebuilt(folder: Path, config: Configuration, record: Plan | None, model: nn.Module | None) -> nn.Module:
    """The network with any weights, none of them `model`'s own.

    Raises ArtifactError where the configuration and the record make none, or one that is far larger than the weights beside.
    """
    ours = model is None and not own.is_own(config.architecture)  # a factory may keep what it gives
    place = str(folder / CONFIG)
    weights = held(folder / WEIGHTS, folder / ORIGINAL)
    try:
        with within(weights, place):
            if record:
                check_record(record, weights, place)
            if config.exchanged is not None:
                _check_exchanged(model, config, folder)
            stock = _stock(config, folder) if model is None else model
            if ours:
                set_again(stock, config.settings, place)
            if record:
                return replay(stock, record, consume=ours)
            return stock if ours else bare(stock)[0]
    except SurgeonError:
        raise
    except Exception as error:  # a library, or a layer, asked for what it cannot do
        text = " ".join(str(error).split())[:200] or "no reason is told"
        raise ArtifactError(
            f"{place}: {config.architecture} cannot be rebuilt as it says ({type(error).__name__}: {text})"
        ) from error


def _check_exchanged(model: nn.Module | None, config: Configuration, folder: Path) -> None:
    """Raise ArtifactError unless `model`, or what the name makes where it is None, is the network that was written."""
    wanted = config.exchanged or {}
    if model is None:
        if wanted:
            raise ArtifactError(
                f"{folder}: the network was changed in code after it was made: {_some(wanted)}; "
                + either(
                    "pass the stock network: surgeon.load(folder, model=…)",
                    "load it from Python, with the stock network",
                )
            )
        return
    found = beyond_name(model, _stock(config, folder))
    was, now = {**wanted, **config.settings}, {**found.exchanged, **found.settings}
    other = [k for k in {**was, **now} if was.get(k) != now.get(k)]
    if other:
        raise ArtifactError(
            f"{folder}: model is not the network that was written: {', '.join(other[:3])} "
            f"{'is' if len(other) == 1 else 'are'} not as there"
        )


def folder_of(name: str | Path) -> Path | None:
    """The folder that a model's name means: one on disk, or a fetched repository of surgeon's; None for other names."""
    return Path(name) if Path(name).is_dir() else hub.folder_of(name)


def _write(tensors: dict[str, Tensor], path: Path, place: Path) -> None:
    """place: where the file will be, for an error."""
    from safetensors.torch import save_file

    with telling(place):
        save_file(tensors, path, metadata={"format": "pt"})


def _displaced_state(model: nn.Module) -> dict[str, Tensor]:
    displaced = model.__dict__.get("displaced") or Displaced()
    state = {f"statistics.{k}": v for k, v in displaced.statistics.items()}
    for site, module in displaced.modules.items():
        state |= {f"modules.{site}.{k}": v for k, v in in_tensors(module.state_dict()).items()}
    return stored(state)


def _restore_displaced(network: nn.Module, state: Mapping[str, Tensor], place: Path) -> None:
    displaced: Displaced = network.__dict__["displaced"]
    displaced.statistics = {
        k.removeprefix("statistics."): v.clone() for k, v in state.items() if k.startswith("statistics.")
    }
    for site, module in displaced.modules.items():
        prefix = f"modules.{site}."
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        try:
            module.load_state_dict(with_extra(own, module.state_dict()))
        except RuntimeError as error:
            text = " ".join(str(error).split())[:200]
            raise ArtifactError(f"{place} does not fit the module at {site}: {text}") from error


def _stock(config: Configuration, folder: Path) -> nn.Module:
    name, size = config.architecture, config.pretrained_cfg.input_size
    if ":" in name and not own.is_own(name):
        raise ArtifactError(
            f"{folder / CONFIG} points to other files ({name}), which a folder must not; nothing was read"
        )
    unnamed.check(name, folder)
    check_taken(name, config.model_args, str(folder / CONFIG))
    try:
        if config.unwritten_args:
            raise ModelError(
                f"its arguments {list(config.unwritten_args)} are not written: they were no plain data, or said where weights are"
            )
        with Blank():
            made = create_model(
                name,
                num_classes=None if own.is_own(name) else config.num_classes,
                input_size=size,
                model_args=config.model_args,
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
    known = made.__dict__.get("pretrained_cfg")
    if isinstance(known, Mapping):  # of the tag that the name stands for by default, where another was saved
        told = config.pretrained_cfg.model_dump(exclude_unset=True)
        made.__dict__["pretrained_cfg"] = described(known) | told
    return made
