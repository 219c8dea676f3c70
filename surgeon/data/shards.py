"""The files of one folder that hold many images each, parquet files or tars, by split and with no file missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from surgeon.data.images import SPLITS, is_part, split_of
from surgeon.data.names import shown
from surgeon.errors import DataError

_NUMBERED = re.compile(r"(?P<of>.*?)-?(?P<number>\d+)-of-(?P<total>\d+)")
_WORDS = re.compile(r"[-_.]")
_NAMED = 5


def files_by_split(path: Path, suffix: str) -> dict[str, list[Path]]:
    """The files of a folder with one suffix, by the split that their names begin with: `train-00000-of-00002.tar`.

    Where no name begins so, a word inside counts, if they have several: `set-train-0.tar` beside
    `set-validation-0.tar`.

    Args:
        path: the folder.
        suffix: the suffix, with the dot.

    Returns:
        Split → files; all are training images where no name is a split's. Empty without such files.

    Raises:
        DataError: files of other names lie beside those of splits, one is called as a split is that is not
            known (dev, eval), a file of a numbered set is missing,
            files of two such sets are of one split, or one is packed or was not copied to its end.
    """
    files = ending(path, suffix)
    _check_endings(path, suffix, files)
    named = _grouped(files, [split_of(f.stem.split("-")[0]) for f in files])
    if not named:
        inside = _grouped(
            files, [next(filter(None, map(split_of, _WORDS.split(f.stem))), None) for f in files]
        )
        named = inside if len(inside) > 1 else {}
    others = [f.name for f in files if not any(f in those for those in named.values())]
    if named and others:
        raise DataError(
            f"{shown(path)} has files of the splits {', '.join(named)} beside others ({_listed(others)}); name "
            "these after their split, or move them away"
        )
    parts = [f for f in files if any(is_part(w) and not w[-1:].isdigit() for w in _WORDS.split(f.stem))]
    if parts and not named:
        raise DataError(
            f"{shown(path)} has {_listed([f.name for f in parts])}, and all would be training images: name files after "
            "their split, train, val or test, or name one file as the source"
        )
    grouped = named or ({"train": files} if files else {})
    for split, those in grouped.items():
        _check_complete(path, split, those)
    return grouped


def ending(path: Path, suffix: str) -> list[Path]:
    """The visible files of a folder whose names end so, in any case.

    Args:
        path: the folder.
        suffix: the suffix in lower case, with the dot.
    """
    files = (p for p in path.iterdir() if p.suffix.lower() == suffix and not p.name.startswith("."))
    return sorted(files)


def _check_endings(path: Path, suffix: str, files: Sequence[Path]) -> None:
    """Raise DataError where a file lacks that lies there packed or in part: `test.parquet.gz`, `test.tar.part`."""
    if not files:
        return
    there = {f.name.lower() for f in files}
    for file in sorted(path.iterdir()):
        name = file.name.lower()
        plain = name.partition(f"{suffix}.")[0] + suffix
        if suffix == ".tar" and name.endswith(".tgz"):
            plain = name.removesuffix(".tgz") + suffix
        elif f"{suffix}." not in name:
            continue
        if plain not in there and not name.startswith(".") and file.is_file():
            raise DataError(
                f"{shown(file)} is packed or was not copied to its end, and would be passed over: unpack it, copy "
                "it again, or move it away"
            )


def _grouped(files: Sequence[Path], splits: Sequence[str | None]) -> dict[str, list[Path]]:
    by_split = {s: [f for f, own in zip(files, splits, strict=True) if own == s] for s in SPLITS}
    return {s: f for s, f in by_split.items() if f}


def _check_complete(path: Path, split: str, files: Sequence[Path]) -> None:
    """Raise DataError where the files' own numbers say that some are missing, or that two sets are mixed."""
    sets: dict[tuple[str, str], dict[int, str]] = {}
    plain = []
    for file in files:
        match = _NUMBERED.fullmatch(file.stem)
        if match is None:
            plain.append(file.name)
        else:
            sets.setdefault((match["of"], match["total"]), {})[int(match["number"])] = file.name
    if not sets:
        return
    if len(sets) > 1 or plain:
        some = [*(next(iter(s.values())) for s in sets.values()), *plain]
        raise DataError(
            f"{shown(path)} has files of several sets as its images of the split {split} ({_listed(some)}): "
            "keep those of one"
        )
    ((_, total), there) = next(iter(sets.items()))
    first = next(iter(there.values()))
    missing = [n for n in range(min(int(total), len(there) + 1)) if n not in there]
    if missing or len(there) != int(total):
        lacks = f"number {missing[0]} is missing" if missing else "there are more"
        raise DataError(
            f"{shown(path)} has {len(there)} of the {int(total)} files that {shown(first)} is one of; {lacks}: "
            "a part of the images would be taken for all; complete them, or name one file as the source"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:_NAMED])) + (", …" if len(names) > _NAMED else "")
