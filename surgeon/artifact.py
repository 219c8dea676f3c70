"""A network in a folder: `model.safetensors`, and a `config.json` that timm reads, with the surgery in it.

A folder of a rewritten network also has `original.safetensors`, the tensors that the surgery displaced, from
which `surgeon.revert` restores them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from surgeon import hub, own
from surgeon.checkpoints import check_fit, read_weights
from surgeon.edits import Plan
from surgeon.errors import ArtifactError, ModelError, SurgeonError
from surgeon.models import ORIGIN, TORCHVISION, ZOO, create_model, input_size_of, name_of, num_classes_of
from surgeon.surgery import replay
from surgeon.surgery.tree import Displaced, bare, surgery_of

WEIGHTS, ORIGINAL, CONFIG = "model.safetensors", "original.safetensors", "config.json"
FORMAT = 1
_PLACES = ("hf_hub_id", "url", "file", "source")
"""Keys of timm's configuration that say where its own weights lie."""


@contextmanager
def new_folder(folder: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder to write in that appears under its name only when all is written; on an error nothing is left.

    Raises ArtifactError if `folder` exists (and is not to be overwritten), or cannot be written.
    """
    folder = Path(folder)
    check_free(folder, overwrite=overwrite)
    try:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.absolute().parent))
    except OSError as error:
        raise ArtifactError(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        yield work
        work.chmod(0o755)
        if folder.exists():
            old = work.with_name(work.name + ".old")
            os.rename(folder, old)
            os.rename(work, folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(work, folder)
    except OSError as error:
        raise ArtifactError(
            f"{folder} could not be written, nothing was kept: {error.strerror or error}"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_free(folder: str | Path, *, overwrite: bool = False) -> None:
    """Raise ArtifactError if `folder` exists and is neither empty nor to be overwritten."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder} exists and is no folder")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise ArtifactError(f"{folder} exists already; choose another folder, or overwrite it (--overwrite)")


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

    Raises ArtifactError for an existing folder, a full disk, or tensors that are not finite in shape or kind;
    nothing is left half-written.
    """
    with new_folder(folder, overwrite=overwrite) as work:
        weights = _state(model)
        _write(weights, work / WEIGHTS)
        displaced = _displaced_state(model)
        if displaced:
            _write(displaced, work / ORIGINAL)
        config = _config(model, dict(model_args or {}))
        config["surgery"] = _surgery(model, work, bool(displaced))
        if config["surgery"] is None:
            del config["surgery"]
        (work / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for name, text in (beside or {}).items():
            (work / name).write_text(text + "\n", encoding="utf-8")
    return Path(folder)


def load(
    folder: str | Path,
    *,
    model: nn.Module | None = None,
    device: str | torch.device = "cpu",
    allow_code: Iterable[str] = (),
) -> nn.Module:
    """The network in a folder that `save` wrote, rewritten again where it was.

    folder: also `hf-hub:owner/name`, with `@revision` at the end for another than the main branch. A repository that
        surgeon did not write is timm's to load.
    model: the stock network to rebuild upon, for one that no name can rebuild; it is left untouched.
    allow_code: modules, such as `package.module`, that a folder of a network of your own code may import; no other
        is imported, whatever the folder says.

    Raises ArtifactError when the folder is incomplete, changed since it was written (hashes), of a
    network that cannot be rebuilt here, or names code that is not allowed.
    """
    shown = str(folder)
    if hub.is_hub(folder):
        place = hub.folder_of(folder)
        if place is None:
            return create_model(str(folder), pretrained=True).to(device).eval()
        folder = place
    folder = Path(folder)
    config = read_config(folder)
    architecture = str(config["architecture"])
    if model is None and own.is_own(architecture):
        allowed = [allow_code] if isinstance(allow_code, str) else allow_code
        own.check_allowed(architecture, allowed, shown)
    record = check_files(folder)
    stock = _stock(config, folder, model)
    network = replay(stock, record) if record else (stock if model is None else bare(stock)[0])
    weights = read_weights(folder / WEIGHTS)
    check_fit(network, weights, str(folder / WEIGHTS))
    network.load_state_dict(weights)
    if record and ORIGINAL in config["surgery"]["sha256"]:
        _restore_displaced(network, read_weights(folder / ORIGINAL))
    return network.to(device).eval()


def folder_of(name: str | Path) -> Path | None:
    """The folder that a model's name means: one on disk, or a fetched repository of surgeon's; None for other names."""
    return Path(name) if Path(name).is_dir() else hub.folder_of(name)


def check_files(folder: str | Path) -> Plan | None:
    """The record of a folder's surgery (None for a stock network), whose files are those that were written.

    Raises ArtifactError for a folder that is incomplete, or changed since it was written (hashes).
    """
    folder = Path(folder)
    record, hashes = _read_surgery(read_config(folder), folder)
    for name, wanted in {WEIGHTS: "", **hashes}.items():
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder} is incomplete: {name} is missing")
        found = file_hash(folder / name) if wanted else ""
        if found != wanted:
            raise ArtifactError(
                f"{folder / name} has changed since it was written: sha256 {found[:12]}…, not {wanted[:12]}…"
            )
    return record


def read_config(folder: str | Path) -> dict[str, Any]:
    """The configuration in a folder. Raises ArtifactError where there is none that can be read."""
    path = Path(folder) / CONFIG
    if not path.is_file() and (Path(folder) / "trained" / CONFIG).is_file():
        raise ArtifactError(f"{folder} is a run; its network is {Path(folder) / 'trained'}")
    if not path.is_file():
        raise ArtifactError(f"{folder} is no model folder: it has no {CONFIG}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict) or "architecture" not in config:
        raise ArtifactError(f"{path} names no architecture")
    return config


def file_hash(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict as independent, contiguous tensors: what is shared in memory is written twice."""
    seen: set[int] = set()
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        state[name] = tensor.clone() if storage in seen and tensor.numel() else tensor
        seen.add(storage)
    return state


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise ArtifactError(f"{path.name} could not be written, nothing was kept: {error}") from error


def _displaced_state(model: nn.Module) -> dict[str, Tensor]:
    displaced = model.__dict__.get("displaced") or Displaced()
    state = {
        f"statistics.{k}": v.detach().cpu().contiguous().clone() for k, v in displaced.statistics.items()
    }
    for site, module in displaced.modules.items():
        for key, tensor in module.state_dict().items():
            state[f"modules.{site}.{key}"] = tensor.detach().cpu().contiguous().clone()
    return state


def _restore_displaced(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    displaced: Displaced = network.__dict__["displaced"]
    displaced.statistics = {
        k.removeprefix("statistics."): v for k, v in state.items() if k.startswith("statistics.")
    }
    for site, module in displaced.modules.items():
        prefix = f"modules.{site}."
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        module.load_state_dict(own)


def _config(model: nn.Module, model_args: dict[str, Any]) -> dict[str, Any]:
    origin = model.__dict__.get(ORIGIN) or {}
    args = {**origin.get("args", {}), **model_args}
    unwritten = [k for k, v in args.items() if not _plain(v)]
    args = {k: v for k, v in args.items() if k not in unwritten}
    headless = getattr(model, "num_classes", None) == 0  # timm's word for a network without a head
    classes, size = 0 if headless else num_classes_of(model), input_size_of(model)
    cfg = {k: v for k, v in (model.__dict__.get("pretrained_cfg") or {}).items() if _plain(v)}
    name = name_of(model)
    architecture = (
        name
        if name.startswith((TORCHVISION, ZOO)) or own.is_own(name) or not cfg
        else cfg.get("architecture", name.split(".")[0])
    )
    if size and size[0] != (cfg.get("input_size") or size)[0] and not own.is_own(name):
        args.setdefault("in_chans", size[0])
    if classes is not None:
        cfg["num_classes"] = classes
    if size:
        cfg["input_size"] = list(size)
    for key in _PLACES:
        cfg.pop(key, None)
    config: dict[str, Any] = {"architecture": architecture, "num_classes": classes}
    if isinstance(getattr(model, "num_features", None), int):
        config["num_features"] = model.num_features
    pool = getattr(model, "global_pool", None)
    if isinstance(pool, str):
        config["global_pool"] = pool
    config["pretrained_cfg"] = cfg
    config["model_args"] = {k: v for k, v in args.items() if k != "num_classes" or own.is_own(name)}
    if unwritten:
        config["unwritten_args"] = unwritten
    config["format"] = FORMAT
    return config


def _plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def _surgery(model: nn.Module, work: Path, displaced: bool) -> dict[str, Any] | None:
    record = surgery_of(model)
    folded = model.__dict__.get("folded_from")
    hashes = {WEIGHTS: file_hash(work / WEIGHTS)}
    if displaced:
        hashes[ORIGINAL] = file_hash(work / ORIGINAL)
    if record is None:
        if folded is None:
            return None
        return {"folded": True, "plan": folded.model_dump(mode="json"), "sha256": hashes}
    return {"folded": False, "plan": record.model_dump(mode="json"), "sha256": hashes}


def _read_surgery(config: Mapping[str, Any], folder: Path) -> tuple[Plan | None, dict[str, str]]:
    surgery = config.get("surgery")
    if not surgery:
        return None, {}
    try:
        record = Plan.model_validate(surgery["plan"])
        hashes = {str(k): str(v) for k, v in surgery["sha256"].items() if Path(k).name == k}
        return (None if surgery["folded"] else record), hashes
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{folder / CONFIG}: the key 'surgery' cannot be understood: {_line(error)}"
        ) from error


def _stock(config: Mapping[str, Any], folder: Path, model: nn.Module | None) -> nn.Module:
    if model is not None:
        return model
    cfg = config.get("pretrained_cfg") or {}
    size = cfg.get("input_size")
    name = str(config["architecture"])
    elsewhere = [k for k in ("checkpoint_path", "cache_dir") if k in (config.get("model_args") or {})]
    if elsewhere or (":" in name and not own.is_own(name)):
        raise ArtifactError(
            f"{folder / CONFIG} points to other files ({', '.join(elsewhere) or name}), which a folder must not; "
            f"nothing was read"
        )
    try:
        if config.get("unwritten_args"):
            raise ModelError(
                f"its arguments {config['unwritten_args']} were no plain data and are not written"
            )
        made = create_model(
            name,
            num_classes=None if own.is_own(name) else config.get("num_classes"),
            input_size=tuple(size) if size else None,
            model_args=config.get("model_args") or {},
        )
    except SurgeonError as error:
        raise ArtifactError(
            f"{folder}: {config['architecture']} cannot be rebuilt by name ({error}); pass the stock network: "
            f"surgeon.load(folder, model=…)"
        ) from error
    known = made.__dict__.get("pretrained_cfg")
    if isinstance(known, Mapping):  # of the tag that the name stands for by default, where another was saved
        told = {k: tuple(v) if isinstance(v, list) else v for k, v in cfg.items()}
        made.__dict__["pretrained_cfg"] = {k: v for k, v in known.items() if k not in _PLACES} | told
    return made


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
