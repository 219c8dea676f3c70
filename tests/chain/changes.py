"""What tests of a chain are made of: images, weights, one thing that is changed, and what the checks then say."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image

from surgeon.verification import Check

SIZE = (1, 32, 32)
TRAINING = ["training.epochs=1", "training.batch_size=8", "training.lr=0.01"]
EVALUATION = ["evaluation.samples=8", "evaluation.steps=2", "evaluation.suite=basic"]


def pictures(folder: Path) -> str:
    """Two classes of gray noise, the second one brighter; splits of their own."""
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 8), ("val", 3), ("test", 4)):
        for offset, name in enumerate(("dark", "light")):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = (
                    torch.randint(0, 128, SIZE[1:], generator=generator, dtype=torch.uint8) + 128 * offset
                )
                Image.fromarray(pixels.numpy()).save(folder / split / name / f"{i}.png")
    return str(folder)


def stock_weights(path: Path) -> str:
    """A file of weights of a fresh LeNet-5 for two classes."""
    from safetensors.torch import save_file

    import surgeon

    torch.manual_seed(5)
    network = surgeon.create_model("zoo/lenet5", num_classes=2, in_chans=1, input_size=SIZE)
    save_file(network.state_dict(), path)
    return str(path)


def verified(folder: Path | str) -> dict[str, Check]:
    """The checks of a folder by their names."""
    from surgeon.pipeline import verify_folder

    return {c.name: c for c in verify_folder(folder)}


def failures(checks: dict[str, Check]) -> set[str]:
    """The names of those that fail."""
    return {name for name, c in checks.items() if c.ok is False}


@contextlib.contextmanager
def changed(path: Path, content: bytes | None) -> Iterator[None]:
    """A file with another content, or gone for None; afterwards it is as it was."""
    before = path.read_bytes()
    try:
        path.unlink() if content is None else path.write_bytes(content)
        yield
    finally:
        path.write_bytes(before)


def flipped(path: Path) -> bytes:
    """The file with its last byte changed: of a safetensors file a weight, of a picture its end."""
    content = path.read_bytes()
    return content[:-1] + bytes([content[-1] ^ 1])


def repainted(path: Path) -> bytes:
    """The picture with one pixel changed."""
    import io

    picture = Image.open(path)
    picture.putpixel((0, 0), picture.getpixel((0, 0)) ^ 1)
    out = io.BytesIO()
    picture.save(out, "png")
    return out.getvalue()


def edited(path: Path, old: str, new: str) -> bytes:
    """The text with one place changed, which must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new, 1).encode()


def rewritten(path: Path, **values: object) -> bytes:
    """A parquet file with other values in its last row."""
    import io

    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    rows = table.to_pylist()
    rows[-1] |= values
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=table.schema), out)
    return out.getvalue()


def turned(path: Path) -> bytes:
    """A table of verdicts whose last one is the opposite."""
    import pyarrow.parquet

    return rewritten(path, success=not pyarrow.parquet.read_table(path).to_pylist()[-1]["success"])


def with_value(path: Path, place: list, value: object) -> bytes:
    """A JSON file with another value at a place."""
    content = json.loads(path.read_text(encoding="utf-8"))
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    assert inner[place[-1]] != value
    inner[place[-1]] = value
    return (json.dumps(content, indent=2) + "\n").encode()


def exchanged(network, folder: Path) -> None:
    """Another network in a run's folder, by hand: `save` does not write there."""
    import surgeon

    aside = surgeon.save(network, folder.parent.parent / f"aside-{folder.parent.name}-{folder.name}")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(aside, folder)
