"""Accuracy on published shifted sets: CIFAR-10/100-C, ImageNet-C, -A, -R, -Sketch, Stylized, cue conflicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from surgeon.arguments import checked_count, checked_seed
from surgeon.data import stratified
from surgeon.data.shifted import Part, ShiftSet, open_shift, outputs_of
from surgeon.data.shifted.classes import CUES
from surgeon.disk.files import read_parquet, write_parquet
from surgeon.disk.writing import make_folder
from surgeon.errors import ArtifactError
from surgeon.evaluation.engine.scoring import check_logits, device_of
from surgeon.host import in_own_state
from surgeon.models.quiet import held_still
from surgeon.results.shifted import CueConflict, Shift, ShiftRow, counted_cues
from surgeon.results.statistics import wilson

Progress = Callable[[str, int, int], None]
READ = 256
"""Images that are read and scored at once."""
COLUMNS = {"example": "int64", "label": "int64", "texture": "int64", "said": "int64", "contents": "string"}
"""Of the table of a part: places in the set's classes, −1 for no class of the set; and the set's hash."""


@in_own_state()
def shift_accuracy(
    model: nn.Module,
    path: str | Path,
    input_size: tuple[int, ...],
    *,
    class_names: Sequence[str] = (),
    samples: int | None = None,
    batch_size: int = READ,
    seed: int = 0,
) -> Shift:
    """Measure accuracy on a published shifted set that lies in a folder, as it is distributed.

    CIFAR-10-C, CIFAR-100-C and ImageNet-C (Hendrycks & Dietterich 2019): one figure a corruption and severity.
    ImageNet-A and ImageNet-R: among their 200 classes alone, as in the papers. ImageNet-Sketch and Stylized
    ImageNet: among all 1,000. Cue conflicts (Geirhos et al. 2019): probabilities are averaged over the outputs
    of each of 16 classes, and decisions for the shape's or the texture's class are counted. Images of another
    size are resized; outside of corruptions, where the shorter side becomes the size / 0.875 and the centre is
    cropped, as the papers do.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        path: The folder of the set. Nothing is downloaded.
        input_size: (C, H, W) of one image.
        class_names: What the outputs are called, in their order; they decide which output means which class.
        samples: Images of each part, with equal shares of each class; by default all.
        batch_size: Images in one forward pass.
        seed: Seed of the choice of images, and of a model that is random.

    Returns:
        The accuracies.

    Raises:
        DataError: The set is not laid out as published, a file is damaged, or it is not for this network.
        ArgumentError: `samples`, `batch_size` or `seed` is invalid.

    Examples:
        >>> from surgeon.evaluation import shift_accuracy
        >>> result = shift_accuracy(model, "sets/ImageNet-C", (3, 224, 224))  # doctest: +SKIP
        >>> result.error, result.mce  # doctest: +SKIP
        (0.61, 0.77)
    """
    samples = None if samples is None else checked_count("samples", samples)
    batch_size, seed = checked_count("batch_size", batch_size), checked_seed(seed)
    return measured(
        model,
        open_shift(path),
        input_size,
        class_names=class_names,
        samples=samples,
        batch_size=batch_size,
        seed=seed,
    )


def measured(
    model: nn.Module,
    opened: ShiftSet,
    input_size: tuple[int, ...],
    *,
    class_names: Sequence[str] = (),
    samples: int | None = None,
    batch_size: int = READ,
    seed: int = 0,
    folder: Path | None = None,
    tell: Progress | None = None,
) -> Shift:
    """Measure accuracy on an opened set, as `shift_accuracy` does.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        opened: The set.
        input_size: (C, H, W) of one image.
        class_names: Names of the outputs; empty if unknown.
        samples: Images of each part; None for all.
        batch_size: Images in one forward pass.
        seed: Seed.
        folder: Where finished parts are kept, so that the same call goes on after an interruption.
        tell: Called with (name of the set, parts done, parts).

    Returns:
        The accuracies.

    Raises:
        DataError: The set is not for this network, or an image cannot be read.
        ArtifactError: The folder keeps parts of another set.
    """
    device, tell = device_of(model), tell or (lambda what, done, total: None)
    chosen = stratified(opened.labels, samples, seed=seed)
    kept = _Kept(folder, opened, chosen)
    labels, rows = opened.labels[chosen], list[ShiftRow]()
    cues: CueConflict | None = None
    with held_still(model, seed), torch.no_grad():
        probe = opened.parts[0].read(chosen[:1], input_size).to(device)
        outputs = check_logits(model(torch.cat([probe, probe])), 2).shape[1]
        meant = outputs_of(opened, class_names, outputs)
        for number, part in enumerate(opened.parts):
            tell(opened.name, number, len(opened.parts))
            said = kept.of(part)
            if said is None:
                said = _decisions(model, part, opened, chosen, input_size, meant.places, batch_size)
                kept.add(part, said)
            if opened.textures is not None:
                cues = counted_cues(said.tolist(), labels.tolist(), opened.textures[chosen].tolist())
            else:
                right = int((said == labels).sum())
                rows.append(
                    ShiftRow(part=part.name, severity=part.severity, share=wilson(right, len(labels)))
                )
        tell(opened.name, len(opened.parts), len(opened.parts))
    fewer = (
        () if len(chosen) == len(opened.labels) else (f"{len(chosen):,} of {len(opened.labels):,} images",)
    )
    if samples is not None and samples > len(opened.labels):
        fewer = (f"{samples:,} images of each part were asked for, and there are {len(opened.labels):,}",)
    return Shift(
        name=opened.name,
        kind=opened.kind,
        source=opened.source,
        contents=opened.contents,
        images=len(chosen),
        whole=opened.whole and len(chosen) == len(opened.labels),
        rows=tuple(rows),
        cues=cues,
        notes=(*opened.notes, *fewer, *meant.notes),
    )


def _decisions(
    model: nn.Module,
    part: Part,
    opened: ShiftSet,
    chosen: Sequence[int],
    size: tuple[int, ...],
    places: Tensor,
    batch_size: int,
) -> Tensor:
    """The place in the set's classes that each image is said to be of; −1 for an output of no class of the set."""
    device, decisions = device_of(model), []
    for start in range(0, len(chosen), batch_size):
        x = part.read(chosen[start : start + batch_size], size).to(device)
        logits = check_logits(model(x), len(x)).cpu()
        if opened.kind == "cue-conflict":
            decisions.append(_category(logits, places))
        elif opened.kind == "imagenet-subset":
            decisions.append(logits[:, places].argmax(1))
        else:
            meaning = torch.full((logits.shape[1],), -1)
            meaning[places] = torch.arange(len(places))
            decisions.append(meaning[logits.argmax(1)])
    return torch.cat(decisions)


def _category(logits: Tensor, places: Tensor) -> Tensor:
    """The class of 16 with the largest mean probability over its outputs, the first one where two are equal."""
    shares = logits.double().softmax(1)
    means = torch.stack([shares[:, places[list(members)]].mean(1) for members in CUES.values()], 1)
    return means.argmax(1)


class _Kept:
    """The decisions of finished parts, in a table each."""

    def __init__(self, folder: Path | None, opened: ShiftSet, chosen: Sequence[int]) -> None:
        self.folder, self.opened, self.chosen = folder, opened, list(chosen)
        if folder is not None:
            make_folder(folder)

    def of(self, part: Part) -> Tensor | None:
        """The decisions on a part; None where it is not finished."""
        path = self._path(part)
        if path is None or not path.is_file():
            return None
        held = read_parquet(path)
        same = {r["contents"] for r in held} == {self.opened.contents}
        if not same or [r["example"] for r in held] != self.chosen:
            raise ArtifactError(
                f"{path} was measured on other images than {self.opened.source} now holds; "
                "put these back, or evaluate into a new folder"
            )
        return torch.tensor([r["said"] for r in held], dtype=torch.int64)

    def add(self, part: Part, said: Tensor) -> None:
        """Keep the decisions on a finished part."""
        path, labels, textures = self._path(part), self.opened.labels, self.opened.textures
        if path is None:
            return
        rows = [
            {
                "example": e,
                "label": int(labels[e]),
                "texture": -1 if textures is None else int(textures[e]),
                "said": s,
                "contents": self.opened.contents,
            }
            for e, s in zip(self.chosen, said.tolist(), strict=True)
        ]
        write_parquet(path, COLUMNS, rows)

    def _path(self, part: Part) -> Path | None:
        return None if self.folder is None else self.folder / f"{table_name(part.name, part.severity)}"


def table_name(part: str, severity: int | None) -> str:
    """The name of the table of a part.

    Args:
        part: The part's name.
        severity: Its severity, or None.
    """
    plain = "".join(c if c.isalnum() or c == "_" else "-" for c in part.lower())
    return f"{plain}{'' if severity is None else f'-{severity}'}.parquet"
