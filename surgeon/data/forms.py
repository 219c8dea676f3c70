"""A folder's images come in one form: image files, parquet files or tars. Others beside it would be passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from surgeon.data.listing import SUFFIXES, UNREAD, split_folders
from surgeon.data.names import shown
from surgeon.data.shards import files_by_split
from surgeon.data.walking import files_below
from surgeon.errors import DataError

_FORMS = {"parquet files": (".parquet",), "tars": (".tar",), "image files": (*SUFFIXES, *UNREAD)}


def check_one_form(folder: Path, read: str) -> None:
    """Check that a folder, of which certain files are read, has no images of another form in its sub-folders.

    A picture that lies beside these files, such as a preview, does not belong to the data.

    Args:
        folder: the folder.
        read: what is read of it, "parquet files" or "tars", which lie in the folder itself.

    Raises:
        DataError: nothing of this form is there, or images of any form lie in a sub-folder or tables beside it.
    """
    own = _FORMS[read]
    if not any(p.suffix.lower() in own for p in folder.iterdir()):
        raise DataError(
            f"{shown(folder)} has no {read}, and the other splits beside it have: give all one form"
        )
    for form, suffixes in _FORMS.items():
        for file in files_below(folder, suffixes):
            inside = file.parent != folder
            if inside or (form != "image files" and form != read):
                raise DataError(
                    f"{shown(folder)} has {read}, which are read, beside other images, such as "
                    f"{shown(file.relative_to(folder))}, which would be passed over: keep one form there"
                )


def check_no_tables(folder: Path) -> None:
    """Check that a folder, of which image files are read, has no parquet files or tars beside them.

    Args:
        folder: the folder.

    Raises:
        DataError: it has; tars that the folders of the same splits were unpacked from do not count as data.
    """
    tars = files_by_split(folder, ".tar")
    files = files_by_split(folder, ".parquet") or ({} if are_left_over(tars, split_folders(folder)) else tars)
    if files:
        one = next(iter(files.values()))[0].name
        raise DataError(
            f"{shown(folder)} has image files, which are read, beside {shown(one)}, which would be passed over: "
            "keep one form there, or name the file"
        )


def are_left_over(tars: Mapping[str, Sequence[Path]], folders: Mapping[str, Path]) -> bool:
    """Whether tars lie beside folders of the same splits, as an archive does beside what was unpacked from it.

    Args:
        tars: split → tars.
        folders: split → folder.
    """
    return bool(folders) and tars.keys() <= folders.keys()
