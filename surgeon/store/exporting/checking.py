"""Compare an exported file with its network, in the runtime that will run it.

A runtime adds numbers in another order than torch, and fuses layers. How far that moves an output is the network's
own matter: a deep network of random weights may multiply a last bit a thousandfold. So what is allowed is measured
where the fixed tolerance does not do: weights and images are moved by a last bit, and the outputs move with them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from surgeon.store.exporting.writing import seeded_images
from surgeon.torch_private import tree_leaves
from surgeon.verification import FOLD_TOLERANCE, Check, relative

BATCHES = (1, 3)
"""Batch sizes that a file is checked with; a fixed batch is checked with the first one."""
DRAWS = 4
"""How often weights and images are moved by a last bit."""
ALLOWED = 8
"""A file may be so many times further away than the furthest of these draws."""
LARGEST = 1e-2
"""No difference above this is put down to rounding."""
Run = Callable[[Tensor], list[Tensor]]


def not_checked() -> Check:
    """The check of a file that was not compared."""
    return Check(name="equal", ok=None, detail="not compared: check=False")


def run_onnx(path: Path) -> Run:
    """Open an ONNX file in onnxruntime, on the CPU.

    Args:
        path: the file.

    Returns:
        A function from images to the file's outputs.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: [torch.from_numpy(o) for o in session.run(None, {name: images.numpy()})]


def run_program(path: Path) -> Run:
    """Open torch's exported program.

    Args:
        path: the file.

    Returns:
        A function from images to the file's outputs.
    """
    network = torch.export.load(path).module()
    return lambda images: _tensors(network(images))


def _tensors(output: object) -> list[Tensor]:
    return [t for t in tree_leaves(output) if isinstance(t, Tensor)]


def differences(
    model: nn.Module, run: Run, size: tuple[int, ...], batches: Sequence[int]
) -> tuple[float, str]:
    """Compare a file's outputs with the network's on seeded images.

    Args:
        model: the network, which is not changed.
        run: a function from images to the file's outputs.
        size: (C, H, W) of one image.
        batches: numbers of images to compare with.

    Returns:
        The largest relative difference of any output in the 2-norm (inf where their numbers differ), and a
        sentence about it.
    """
    reference, worst = copy.deepcopy(model).cpu().float().eval(), 0.0
    with torch.no_grad():
        for count in batches:
            images = seeded_images(count, size)
            wanted, got = _tensors(reference(images)), run(images)
            if len(wanted) != len(got):
                worst = float("inf")
                break
            pairs = zip(got, wanted, strict=True)
            worst = max([worst, *(relative(a, b) for a, b in pairs)])
    counts = " and ".join(map(str, batches))
    return worst, f"largest relative difference {worst:.1e}, on {counts} images"


def allowed(model: nn.Module, size: tuple[int, ...], batches: Sequence[int]) -> float:
    """Measure how far rounding can move a network's outputs.

    Args:
        model: the network, which is not changed.
        size: (C, H, W) of one image.
        batches: numbers of images to measure with.

    Returns:
        The largest relative difference of any output, in the 2-norm, that moving every weight and pixel up or down by
        a last bit of float32 makes, times ALLOWED; at least `FOLD_TOLERANCE`, at most LARGEST.
    """
    reference, worst = copy.deepcopy(model).cpu().float().eval(), 0.0
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        wanted = {count: _tensors(reference(seeded_images(count, size))) for count in batches}
        for _ in range(DRAWS):
            moved = copy.deepcopy(reference)
            for weight in moved.parameters():
                if weight.is_floating_point():
                    weight.copy_(_moved(weight, generator))
            for count, before in wanted.items():
                after = _tensors(moved(_moved(seeded_images(count, size), generator)))
                worst = max([worst, *(relative(a, b) for a, b in zip(after, before, strict=True))])
    return min(max(FOLD_TOLERANCE, ALLOWED * worst), LARGEST)


def _moved(values: Tensor, generator: torch.Generator) -> Tensor:
    """Every number the next larger or smaller one of its type, at random."""
    up = torch.rand(values.shape, generator=generator) < 0.5
    return torch.nextafter(values, torch.where(up, torch.inf, -torch.inf).to(values))
