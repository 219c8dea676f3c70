"""The folder of an evaluation under way: a file for each attack on each block, so that a killed one goes on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from surgeon.disk.files import read_parquet, write_bytes, write_parquet
from surgeon.disk.writing import make_folder
from surgeon.errors import ArtifactError, SurgeonError
from surgeon.ownership import claim, take
from surgeon.reading import read_json
from surgeon.results.threat import Attack
from surgeon.results.verdict import COLUMNS, Outcome, Verdict

MANIFEST, CLEAN = "manifest.json", "clean.parquet"
BLOCKS, IMAGES = "blocks", "adversarial"


class Store:
    """Verdicts below `folder`, which belongs to one manifest: attacks, weights and images by their hashes.

    keep: the adversarial images are stored too, as float32 safetensors beside each block.

    Raises ArtifactError for a folder that holds something else.
    """

    def __init__(self, folder: str | Path, *, keep: bool = False) -> None:
        self.folder, self.keep = Path(folder), keep

    def claim(self, manifest: dict[str, Any], *, write: bool = True) -> None:
        """Take the folder for this manifest; one that holds it already is gone on with. write: by this process."""
        (take if write else claim)(self.folder, MANIFEST, manifest, "an evaluation")

    def clean(self) -> list[Verdict] | None:
        """The verdicts on the images as they are, if they were written."""
        return _read(self.folder / CLEAN)

    def write_clean(self, rows: Sequence[Verdict]) -> None:
        """Write them."""
        make_folder(self.folder)
        write_parquet(self.folder / CLEAN, COLUMNS, [r.model_dump() for r in rows])

    def block(self, number: int, attack: Attack, block: int) -> list[Verdict] | None:
        """The verdicts of the `number`-th attack on a block, if they were written."""
        return _read(self._path(number, attack, block))

    def write(
        self, number: int, attack: Attack, block: int, rows: Sequence[Verdict], found: Tensor | None
    ) -> None:
        """Write a block's verdicts, and before them its adversarial images if they are kept."""
        path = self._path(number, attack, block)
        make_folder(path.parent)
        if self.keep and found is not None:
            from safetensors.torch import save

            make_folder(self.folder / IMAGES)
            examples = {"examples": ",".join(str(r.example) for r in rows)}
            content = save({"images": found.cpu().contiguous()}, metadata=examples)
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
    """What an evaluation folder holds by now; blocks that are missing are named.

    Raises ArtifactError for a folder without an evaluation, or whose clean predictions are not there yet.
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
    rows, missing = list(clean), []
    for number, attack in enumerate(attacks):
        for block in range(count):
            found = store.block(number, attack, block)
            if found is None:
                missing.append(f"{attack.label}, block {block}")
            else:
                rows += found
    return Outcome(tuple(rows), attacks, draws, tuple(missing))


def _read(path: Path) -> list[Verdict] | None:
    return [Verdict(**row) for row in read_parquet(path)] if path.is_file() else None
