"""Limit what building a folder's network may cost, in proportion to the size of its file of weights.

A configuration of a few bytes can ask for a network of terabytes, or of a million blocks. Parameters,
buffers and modules are therefore counted while the network is built, and building stops with an error once
there are far more than the file could fill.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as hooks

from surgeon.edits import Edit, Plan
from surgeon.errors import ArtifactError

SPARE_NUMBERS, SPARE_MODULES = 2**28, 50_000
"""Allowance beyond the file: heads built and replaced, unsaved buffers, modules without weights."""
LARGEST, LONGEST = 2**31, 1000
"""Limits of a number in a record's settings, and of a text's length."""
_BOUNDS = ("max_parameters",)
"""Settings that are upper bounds, not sizes: any value is harmless."""


@dataclass(frozen=True)
class Held:
    """The numbers and the tensors that files of weights hold."""

    numbers: int
    tensors: int

    @property
    def most_numbers(self) -> int:
        """The most numbers that parameters and buffers may have in all while the network is built."""
        return 4 * self.numbers + SPARE_NUMBERS

    @property
    def most_modules(self) -> int:
        """The most modules that the network may be built of."""
        return 20 * self.tensors + SPARE_MODULES


def held(*files: Path) -> Held:
    """Count the contents of safetensors files, from their headers alone.

    Args:
        files: the files. One that is missing or damaged counts as empty.
    """
    from safetensors import SafetensorError, safe_open

    numbers = tensors = 0
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118  # safe_open is not a mapping
                    numbers += math.prod(file.get_slice(key).get_shape())
                    tensors += 1
        except (OSError, SafetensorError):
            continue
    return Held(numbers, tensors)


@contextlib.contextmanager
def within(most: Held, place: str) -> Iterator[None]:
    """Inside, raise an error as soon as the network being built is larger than its weights allow.

    Args:
        most: what the files of weights hold.
        place: the configuration, for the message.

    Raises:
        ArtifactError: the limit is exceeded, by this thread.
    """
    left = {"numbers": most.most_numbers, "modules": most.most_modules}
    here = threading.get_ident()  # the hooks are global: another thread may build a network of its own

    def spend(kind: str, count: int) -> None:
        if threading.get_ident() != here:
            return
        left[kind] -= count
        if left[kind] < 0:
            raise ArtifactError(
                f"{place} asks for a network of more {kind} than its weights have ({most.numbers:,} numbers in "
                f"{most.tensors:,} tensors); building it was given up"
            )

    def of_tensor(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        # a proxy is not one: the network is traced here too, and may put one into a buffer then
        if isinstance(tensor, Tensor) and not nn.parameter.is_lazy(tensor):
            spend("numbers", tensor.numel())

    def of_module(module: nn.Module, name: str, child: nn.Module | None) -> None:
        spend("modules", 1)

    handles: list[Any] = [
        hooks.register_module_parameter_registration_hook(of_tensor),
        hooks.register_module_buffer_registration_hook(of_tensor),
        hooks.register_module_module_registration_hook(of_module),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_record(record: Plan, most: Held, place: str) -> None:
    """Check the sizes in a surgery's record before anything is built from it.

    Args:
        record: the record.
        most: what the files of weights hold.
        place: the configuration, for the message.

    Raises:
        ArtifactError: a text, a number or a size is too large for a network of these weights.
    """
    for key, settings in record.operations.items():
        _check_values(settings, f"{place}: operation {key!r:.80}")
    for edit in record.edits:
        where = f"{place}: the edit at {edit.site!r:.80}"
        _check_values(edit.settings, where)
        for name, value in _lists(edit):
            if math.prod(max(abs(v), 1) for v in value) > most.most_numbers:
                raise ArtifactError(f"{where} has {name!r:.80} of a size that its weights do not have")


def _lists(edit: Edit) -> Iterator[tuple[str, list[int]]]:
    for name, value in edit.settings.items():
        if isinstance(value, (list, tuple)):
            yield name, [v for v in value if isinstance(v, int)]


def _check_values(value: object, where: str) -> None:
    if isinstance(value, dict):
        value = [v for k, v in value.items() if k not in _BOUNDS or not isinstance(v, int)]
    if isinstance(value, (list, tuple)):
        for inner in value:
            _check_values(inner, where)
    elif isinstance(value, str) and len(value) > LONGEST:
        raise ArtifactError(f"{where} has a text of more than {LONGEST:,} characters")
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and not abs(value) <= LARGEST:
        raise ArtifactError(f"{where} has a number whose size is above {LARGEST:,}, or NaN")
