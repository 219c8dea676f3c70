"""The weight map layer against its equations as written, and against the one matrix product that it cannot do
without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.ceilings import ceilings
from benchmarks.timing import Asked, Comparison, Row, Task, captured
from surgeon.methods.weight_map.module import WeightMap2d

NAIVE, NAIVE_ON_GPU = (32, 32, 28), (128, 32, 56)
PRODUCTS = ((32, 32, 28), (128, 64, 16), (128, 256, 8), (128, 512, 4))
"""(images, channels in and out, pixels a side)."""
ON_GPU = ((512, 64, 56), (512, 128, 28), (512, 256, 14), (512, 512, 7))
"""What a ResNet has at 224 pixels; in bfloat16 and channels_last."""
MEMORY = (64, 64, 56)


def comparisons(asked: Asked) -> Iterator[Comparison]:
    """Forward passes against the equations, forward and backward passes against torch.bmm."""
    n, c, side = (2, 4, 6) if asked.small else NAIVE if asked.device == "cpu" else NAIVE_ON_GPU
    for mode in ("smoothing", "unsharp"):
        layer, x = _layer(c, side, mode, asked), torch.randn(n, c, side, side, device=asked.device)
        yield Comparison(
            "weight map, forward",
            "the equations as written",
            _quiet(partial(as_written, layer, layer.by_channels().contiguous(), x)),
            {f"{mode}, {n} × {c} × {side}²": _quiet(partial(layer, x))},
            1 if asked.small else min(asked.repeats, 5),
            more=True,
        )
    for n, c, side in [(2, 4, 6)] if asked.small else PRODUCTS if asked.device == "cpu" else ON_GPU:
        yield from _against_product(n, c, side, asked)


def measure(asked: Asked) -> Iterator[Row]:
    """Peak memory."""
    if asked.device == "cpu":
        yield from _memory(asked)


def as_written(layer: WeightMap2d, weight: Tensor, x: Tensor) -> Tensor:
    """eq. 1-4, with the N × C_out × C_in × H × W products in memory. weight: the layer's, laid out as the
    equations have it."""
    products = x.unsqueeze(1) * weight.unsqueeze(0)
    n, c_out, c_in, height, width = products.shape
    kernel = torch.ones(c_in, 1, *layer.kernel_size).to(x)
    flat = products.reshape(n * c_out, c_in, height, width)
    box = F.conv2d(flat, kernel, padding=layer.padding, groups=c_in)  # type: ignore[arg-type]  # measured with a number
    kept = box if layer.mode == "smoothing" else 2 * flat - box
    return kept.reshape(products.shape).sum(2)


def _layer(channels: int, side: int, mode: str, asked: Asked) -> WeightMap2d:
    layer = WeightMap2d(channels, channels, (side, side), 3, padding=1, mode=mode, bias=False)
    return layer.to(asked.device)


def _quiet(task: Task) -> Task:
    def run() -> None:
        with torch.no_grad():
            task()

    return run


def _against_product(n: int, c: int, side: int, asked: Asked) -> Iterator[Comparison]:
    """On a GPU as CUDA graphs: what the GPU takes, without Python's share."""
    cpu = asked.device == "cpu"
    form = {"device": asked.device, "dtype": torch.float32 if cpu else torch.bfloat16}
    left = torch.randn(side * side, n, c, **form, requires_grad=True)  # type: ignore[call-overload]  # of two types
    right = torch.randn(side * side, c, c, **form, requires_grad=True)  # type: ignore[call-overload]  # the same
    memory = torch.contiguous_format if cpu else torch.channels_last
    x = torch.randn(n, c, side, side, **form)  # type: ignore[call-overload]  # the same
    x = x.contiguous(memory_format=memory).requires_grad_()
    given = torch.randn_like(left), torch.randn_like(x)
    layers = {mode: _layer(c, side, mode, asked).to(x.dtype) for mode in ("smoothing", "unsharp")}
    size = f"{n} × {c} × {side}²"
    numbers = x.numel() * x.element_size()

    def gradients(task: Callable[[], Tensor], of: tuple[Tensor, ...], gradient: Tensor) -> Task:
        return captured(lambda: torch.autograd.grad(task(), of, gradient), asked.device)

    product = partial(torch.bmm, left, right)
    for group, passes, baseline, tasks in (
        (
            "forward",
            8 if cpu else 2,
            captured(_quiet(product), asked.device),
            {m: captured(_quiet(partial(layer, x)), asked.device) for m, layer in layers.items()},
        ),
        (
            "forward and backward",
            16 if cpu else 4,
            gradients(product, (left, right), given[0]),
            {m: gradients(partial(layer, x), (x, layer.maps), given[1]) for m, layer in layers.items()},
        ),
    ):

        def note(row: Row, moved: int = passes * numbers) -> str:
            at_best = 1 + moved / ceilings(asked.device)[1] / row.baseline
            return f"copies at the machine's speed alone: {at_best:.2f}"

        named = {f"{m}, {size}": task for m, task in tasks.items()}
        yield Comparison(f"weight map, {group}", "torch.bmm", baseline, named, asked.repeats, note=note)


_PEAK = """
import sys, torch
from surgeon.methods.weight_map import WeightMap2d
n, c, side = map(int, sys.argv[1].split(","))
torch.set_num_threads(1)

def status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) * 1024

with torch.no_grad():
    WeightMap2d(4, 4, (4, 4), 3, padding=1)(torch.randn(2, 4, 4, 4))
    before = status("VmRSS")
    layer = WeightMap2d(c, c, (side, side), 3, padding=1, mode=sys.argv[2], bias=False)
    x = torch.randn(n, c, side, side)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
    out = layer(x)
print(status("VmHWM") - before, 4 * (x.numel() + layer.maps.numel() + out.numel()))
"""


def _memory(asked: Asked) -> Iterator[Row]:
    """Peak of resident memory in a forward pass, by a process of its own."""
    sizes = ",".join(map(str, (8, 8, 64) if asked.small else MEMORY))
    for mode in ("smoothing", "unsharp"):
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, sizes, mode], capture_output=True, text=True, check=True
        )
        peak, least = map(float, done.stdout.split())
        yield Row(
            "weight map, peak memory",
            f"{mode}, {sizes.replace(',', ' × ')}²",
            "input + weights + output",
            peak / least,
            peak / least,
            peak / least,
            0.0,
            0.0,
            note=f"{peak / 2**20:.0f} MiB against {least / 2**20:.0f} MiB",
        )
