"""The folder of an unfinished evaluation: one file per attack and block, so that it can be resumed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

from torch import Tensor

from surgeon.disk.files import count_parquet, read_rows, write_bytes, write_parquet
from surgeon.disk.writing import make_folder
from surgeon.errors import ArtifactError, SurgeonError, WritingError, either
from surgeon.evaluation.engine.on_disk import OnDisk
from surgeon.ownership import claim, take
from surgeon.reading import read_json
from surgeon.results.threat import Attack
from surgeon.results.verdict import COLUMNS, Outcome, Verdict, key_of

MANIFEST, CLEAN = "manifest.json", "clean.parquet"
BLOCKS, IMAGES = "blocks", "adversarial"


@contextlib.contextmanager
def going_on() -> Iterator[None]:
    """Inside, an error that a file could not be written says what stays of a work that is resumed part by part.

    Raises:
        WritingError: A file could not be written.
    """
    try:
        yield
    except WritingError as error:
        stays = "what was finished before stays: with more room, the same"
        if stays in str(error):
            raise
        raise WritingError(f"{error}; {stays} {either('call', 'command')} goes on from there") from error


class Store:
    """A folder of verdicts that belongs to one evaluation: its attacks, and its inputs by their hashes.

    Args:
        folder: The folder; made when the first file is written.
        keep: Whether to store adversarial images too, as float32 safetensors for each block.

    Raises:
        ArtifactError: When used: the folder holds something else.

    Examples:
        >>> import tempfile, torch
        >>> from torch import nn
        >>> from surgeon.evaluation import Attack, Store, evaluate, read_outcome
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 3))
        >>> images, labels = torch.rand(8, 3, 4, 4), torch.arange(8) % 3
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     attacks, store = [Attack(name="fgsm", kind="own-pgd", eps=8 / 255)], Store(folder)
        ...     outcome = evaluate(model, images, labels, attacks, store=store)
        ...     len(read_outcome(folder)) == len(outcome), len(store.clean())
        (True, 8)
    """

    def __init__(self, folder: str | Path, *, keep: bool = False) -> None:
        self.folder, self.keep = Path(folder), keep

    def claim(self, manifest: dict[str, Any], *, write: bool = True) -> None:
        """Claim the folder for an evaluation; a folder that it already owns is continued.

        Args:
            manifest: What identifies the evaluation.
            write: Whether this process writes the manifest; the others only check it.

        Raises:
            ArtifactError: The folder holds something else, or another evaluation.
        """
        (take if write else claim)(self.folder, MANIFEST, manifest, "an evaluation")

    def clean(self) -> list[Verdict] | None:
        """Return the verdicts on the clean images.

        Returns:
            One for each image; None if they are not written yet.
        """
        return _read(self.folder / CLEAN)

    def write_clean(self, rows: Sequence[Verdict]) -> None:
        """Write the verdicts on the clean images.

        Args:
            rows: One verdict for each image.
        """
        make_folder(self.folder)
        write_parquet(self.folder / CLEAN, COLUMNS, [r.model_dump() for r in rows])

    def block(self, number: int, attack: Attack, block: int) -> list[Verdict] | None:
        """Return the verdicts of one attack on one block, or None if they are not written yet.

        Args:
            number: Index of the attack in the evaluation.
            attack: The attack.
            block: Index of the block.

        Returns:
            The verdicts, an image each, or None.
        """
        return _read(self._path(number, attack, block))

    def check_block(
        self,
        number: int,
        attack: Attack,
        block: int,
        rows: Sequence[Verdict],
        clean: Sequence[Verdict],
        due: Set[int],
    ) -> None:
        """Check that verdicts of a block are those of its attack and of its images.

        Args:
            number: Index of the attack in the evaluation.
            attack: The attack.
            block: Index of the block.
            rows: The verdicts that were read.
            clean: The verdicts on the block's images as they are.
            due: The examples that the attack has to be tried on.

        Raises:
            ArtifactError: A verdict is of another attack or image, is there twice, or one is missing.
        """
        seen = [v.example for v in rows]
        of = {_identity(v) for v in clean}
        odd = next((v for v in rows if _identity(v) not in of or key_of(v) != key_of(attack)), None)
        if odd is not None:
            fault = f"its verdict on image {odd.example} is not of {attack.label} on an image of this block"
        elif len(set(seen)) < len(seen):
            fault = "it has two verdicts on one image"
        elif absent := sorted(due - set(seen)):
            fault = f"it has no verdict on image {absent[0]}"
        else:
            return
        path = self._path(number, attack, block)
        raise ArtifactError(f"{path} was changed: {fault}; delete it, and the same call makes it again")

    def is_written(self, number: int, attack: Attack, block: int) -> bool:
        """Return whether the verdicts of one attack on one block are written.

        Args:
            number: Index of the attack in the evaluation.
            attack: The attack.
            block: Index of the block.

        Returns:
            True where their file is there.
        """
        return self._path(number, attack, block).is_file()

    def count(self, number: int, attack: Attack, block: int) -> int | None:
        """Return the number of verdicts of one attack on one block, or None if they are not written yet.

        Args:
            number: Index of the attack in the evaluation.
            attack: The attack.
            block: Index of the block.

        Returns:
            The number, or None.
        """
        path = self._path(number, attack, block)
        return count_parquet(path) if path.is_file() else None

    def write(
        self, number: int, attack: Attack, block: int, rows: Sequence[Verdict], adversarial: Tensor | None
    ) -> None:
        """Write the verdicts of one attack on one block, and its adversarial images if they are kept.

        Args:
            number: Index of the attack in the evaluation.
            attack: The attack.
            block: Index of the block.
            rows: The verdicts.
            adversarial: (n, C, H, W) adversarial images, None if the block had nothing to attack.
        """
        path = self._path(number, attack, block)
        make_folder(path.parent)
        # Images first: a block counts as finished when its verdicts exist, and would then lack its images.
        if self.keep and adversarial is not None:
            from safetensors.torch import save

            make_folder(self.folder / IMAGES)
            examples = {"examples": ",".join(str(r.example) for r in rows)}
            content = save({"images": adversarial.cpu().contiguous()}, metadata=examples)
            write_bytes(self.folder / IMAGES / f"{path.stem}.safetensors", content)
        write_parquet(path, COLUMNS, [r.model_dump() for r in rows])

    def _path(self, number: int, attack: Attack, block: int) -> Path:
        slug = re.sub(
            r"[^a-z0-9.]+",
            "-",
            f"{attack.name} {attack.source or ''} {attack.norm} {attack.eps} {attack.seed}".lower(),
        )
        return self.folder / BLOCKS / f"{number:03d}-{slug.strip('-')}-{block:05d}.parquet"


def read_outcome(folder: str | Path) -> Outcome:
    """Read the verdicts that an evaluation has written so far.

    Args:
        folder: The folder of a `Store`, or attacks/ of an assessment.

    Returns:
        The verdicts, which are read from the folder each time they are asked for; `missing` names the blocks that are
        not written yet.

    Raises:
        ArtifactError: The folder has no evaluation, or its clean predictions are not written yet.

    Examples:
        >>> from surgeon.evaluation import read_outcome
        >>> read_outcome("runs/demo/evaluation/attacks").missing  # doctest: +SKIP
        ()
    """
    store = Store(folder)
    path = store.folder / MANIFEST
    try:
        manifest = read_json(path)
        attacks = tuple(Attack.model_validate(a) for a in manifest["attacks"])
        size, draws = int(manifest["block"]), int(manifest["draws"])
    except (SurgeonError, OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder} holds no evaluation: {path.name} cannot be read ({error})") from None
    clean = store.clean()
    if clean is None:
        raise ArtifactError(f"{folder} holds an evaluation that has only begun: run the same command again")
    count = -(-sum(not v.success for v in clean) // size)
    absent = {
        (number, block)
        for number, attack in enumerate(attacks)
        for block in range(count)
        if not store.is_written(number, attack, block)
    }
    missing = tuple(f"{attacks[number].label}, block {block}" for number, block in sorted(absent))
    return Outcome(OnDisk(store, tuple(clean), attacks, count, absent), attacks, draws, missing)


def _identity(verdict: Verdict) -> tuple[Any, ...]:
    """What the verdicts on one image share, whatever the attack."""
    return verdict.example, verdict.image, verdict.label, verdict.clean, verdict.margin


def _read(path: Path) -> list[Verdict] | None:
    return read_rows(path, Verdict) if path.is_file() else None
