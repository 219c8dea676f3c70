"""Names of models: what a name may mean, and the message for an unknown one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from surgeon.errors import either, nearest
from surgeon.models.exported import kind_of_export
from surgeon.models.weight_files import PICKLED

FOR_SURGEON = "surgeon/"
"""Before the architecture's name in a `config.json` whose weights are of another network than that name makes. timm
knows no such model, and refuses the folder; it would load the weights into what the name makes, if their names fit."""
_TIMM, _TORCHVISION = "timm/", "torchvision.models."
_FILES = (".safetensors", *PICKLED)
_LIBRARIES = (_TIMM, "zoo/", "torchvision/")
_CLOSE = "did you mean"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")


def library_name(name: str) -> str:
    """timm's own name for `timm/NAME`, the form of timm's repositories; other names unchanged.

    Args:
        name: a model's name.
    """
    rest = name.removeprefix(_TIMM)
    return rest if name != rest and of_timm(rest) else name


def of_timm(name: str) -> bool:
    """Whether timm has an architecture of this name, with or without a tag.

    Args:
        name: a model's name. A file's suffix, such as .pth, does not count as a tag.
    """
    import timm

    return Path(name).suffix.lower() not in _FILES and timm.is_model(name.split(".")[0])


def unknown(name: str, valid: Callable[[], Iterable[str]]) -> str:
    """The message for a name that no library has.

    Args:
        name: the name.
        valid: gives all known names; called only when the message needs them.
    """
    path = Path(name)
    rest = name.rpartition("/")[2]
    if path.suffix.lower() in _FILES:
        there = "a file of weights" if path.is_file() else "not a file here"
        how = either("create_model(NAME, weights=FILE)", "give the network's name, and the file as --weights")
        return f"{name} is {there}, and no name of a network: {how}"
    if path.is_file():
        export = " (an export runs elsewhere, and cannot be taken back)" if kind_of_export(path) else ""
        return (
            f"{name} is a file, but not of weights ({', '.join(_FILES)}){export}: give a network's name, or the folder "
            "that surgeon wrote of one"
        )
    if name.startswith(_TORCHVISION):
        return f"unknown model {name!r}; did you mean 'torchvision/{rest.removeprefix(_TORCHVISION)}'?"
    if "/" not in name:
        there = "; the folder of this name is not a model folder" if path.is_dir() else ""
        every = either("surgeon.models.list_models() lists all", "surgeon models lists all")
        return f"unknown model {name!r}{there}; {nearest(name, valid())} ({every})"
    if path.parent.is_dir() and not name.startswith(_LIBRARIES):
        return f"{name}: nothing is there, and it is not a model's name{_beside(path)}"
    hub = (
        f"; a repository of the Hugging Face Hub is written 'hf-hub:{name}'"
        if _REPOSITORY.fullmatch(name) and not name.startswith((".", *_LIBRARIES))
        else ""
    )
    close = nearest(name if name.startswith(("zoo/", "torchvision/")) else rest, valid())
    meant = f"; {close}" if close.startswith(_CLOSE) or not hub else ""
    return f"unknown model {name!r}, and nothing lies there{hub}{meant}"


def _beside(path: Path) -> str:
    """A clause with files of a similar name in the folder of a path that does not exist."""
    there = [str(p) for p in path.parent.iterdir() if not p.name.startswith(".")]
    close = nearest(str(path), there) if path.parent != Path() else ""
    return f"; {close}" if close.startswith(_CLOSE) else ""
