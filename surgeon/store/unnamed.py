"""Networks of own code that were made without a name: the warning on saving and the error on loading."""

from __future__ import annotations

from pathlib import Path

from surgeon.errors import ArtifactError, either
from surgeon.models import own
from surgeon.models.creating import is_known

_NAMED = "surgeon.create_model('package.module:factory') makes one that its folder names"


def is_unnamed(architecture: str) -> bool:
    """Whether a folder's architecture is only a class's name, from which no network can be made.

    Args:
        architecture: the key `architecture` of `config.json`.
    """
    return ":" not in architecture and not own.is_own(architecture) and not is_known(architecture)


def at_saving(architecture: str, folder: Path, *, changed: bool = False) -> str:
    """The warning for a network that cannot be made from what its folder says.

    Args:
        architecture: the network's name.
        folder: the folder that was written.
        changed: whether code changed the network's structure after its surgery.
    """
    also = ", changed as this one was after it" if changed else ""
    if not is_unnamed(architecture):
        what = f", with a network before any surgery{also}" if changed else ""
        return (
            f"{architecture} as it is cannot be made by name: {folder} loads as surgeon.load(folder, model=…) "
            f"alone{what}"
        )
    return (
        f"{architecture} is of own code, and its class is not a name that makes it: {folder} "
        "loads as surgeon.load(folder, model=…) alone, "
        f"with a fresh {architecture} before any surgery{also}; {_NAMED}"
    )


def check(architecture: str, folder: Path) -> None:
    """Raise an error for a folder whose network cannot be made by name.

    Args:
        architecture: the key `architecture` of `config.json`.
        folder: the folder, for the message.

    Raises:
        ArtifactError: the architecture is only a class's name.
    """
    if not is_unnamed(architecture):
        return
    raise ArtifactError(
        f"{folder} holds a {architecture} of own code, which no name makes: "
        + either(
            f"pass it as it was before any surgery, surgeon.load(folder, model={architecture}(…)); {_NAMED}",
            f"load it from Python, surgeon.load(folder, model={architecture}(…)); {_NAMED}",
        )
    )
