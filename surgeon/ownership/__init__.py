"""Ownership of folders: who may write there, what surgeon wrote there, and recovery after a kill."""

from surgeon.ownership.lock import check_apart, check_input, locked
from surgeon.ownership.manifest import (
    Manifest,
    add_to_manifest,
    read_manifest,
    seal,
    sealed_again,
    strangers,
    unsealed,
)
from surgeon.ownership.placing import noted, opened
from surgeon.ownership.replacing import new_file, new_folder, reserved
from surgeon.ownership.settings import claim, owned, owning, settings_in, take, taken

__all__ = [
    "Manifest",
    "add_to_manifest",
    "check_apart",
    "check_input",
    "claim",
    "locked",
    "new_file",
    "new_folder",
    "noted",
    "opened",
    "owned",
    "owning",
    "read_manifest",
    "reserved",
    "seal",
    "sealed_again",
    "settings_in",
    "strangers",
    "take",
    "taken",
    "unsealed",
]
