"""Cue conflicts: images with the shape of one class and the texture of another (Geirhos et al. 2019).

Files are named by both, `cat7-elephant1.png`: shape of a cat, texture of an elephant (arXiv 1811.12231,
github.com/rgeirhos/texture-vs-shape, stimuli/style-transfer-preprocessed-512).
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from surgeon.data.names import shown
from surgeon.data.shifted.classes import CUES
from surgeon.data.shifted.files import folders, hashed, images, no_images_in, reading
from surgeon.data.shifted.sets import Part, ShiftSet
from surgeon.errors import DataError

IMAGES = 1_280
LAYOUT = (
    "cue conflicts: FOLDER/cat/cat7-elephant1.png, a folder for each of 16 shapes, files named SHAPE-TEXTURE"
)
_NAME = re.compile(r"([a-z]+)\d+-([a-z]+)\d+\.\w+")


def open_cue_conflict(folder: Path) -> ShiftSet:
    """Open a set of cue conflicts.

    Args:
        folder: where the folders of the 16 shapes lie.

    Returns:
        The set, of one part; `labels` are shapes and `textures` textures.

    Raises:
        DataError: a folder is not one of the 16 classes, or one of them lacks; or a file's name does not say its
            shape and texture, or says another shape than its folder.
    """
    no_images_in(folder)
    classes, names = tuple(CUES), folders(folder)
    odd, lacking = [n for n in names if n not in CUES], [n for n in classes if n not in names]
    if odd or lacking:
        reason = f"{odd[0]!r} is not one of the 16 classes" if odd else f"{', '.join(lacking)} lack"
        raise DataError(f"{shown(folder)}: {reason}; expected is {LAYOUT}")
    files = [folder / c / n for c in names for n in images(folder / c)]
    shapes, textures, seen = [], [], dict[str, Path]()
    for file in files:
        shape, texture = _said(file)
        if seen.setdefault(file.stem, file) != file:
            raise DataError(f"{shown(file)} and {shown(seen[file.stem])} are one image; keep one of them")
        shapes.append(classes.index(shape))
        textures.append(classes.index(texture))
    whole = len(files) == IMAGES
    return ShiftSet(
        name="cue conflicts",
        kind="cue-conflict",
        source=str(folder),
        parts=(Part("cue conflicts", None, reading(files)),),
        labels=torch.tensor(shapes, dtype=torch.int64),
        textures=torch.tensor(textures, dtype=torch.int64),
        classes=classes,
        contents=hashed((f.relative_to(folder).as_posix() for f in files), files.__getitem__, len(files)),
        whole=whole,
        notes=() if whole else (f"{len(files):,} images, and {IMAGES:,} were published",),
    )


def _said(file: Path) -> tuple[str, str]:
    match = _NAME.fullmatch(file.name)
    if match is None or not {match[1], match[2]} <= {*CUES}:
        raise DataError(f"{shown(file)}: its name does not say a shape and a texture; expected is {LAYOUT}")
    if match[1] != file.parent.name:
        raise DataError(
            f"{shown(file)} has the shape {match[1]} by its name, and {file.parent.name} by its folder"
        )
    return match[1], match[2]
