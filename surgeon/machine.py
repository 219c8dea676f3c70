"""What produced a result: versions, machine, processes, command."""

from __future__ import annotations

import contextlib
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "timm", "accelerate", "torchattacks", "numpy", "scipy")


def made_by() -> dict[str, Any]:
    """Versions, machine, processes and command of this process, to record with a result."""
    import torch

    from surgeon import __version__
    from surgeon.processes import world

    versions = {"surgeon": __version__}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "versions": versions,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "processor": processor(),
        "gpus": gpus,
        "processes": world(),
        "threads": torch.get_num_threads(),
        "command": sys.argv,
    }


def processor() -> str:
    """The name of the processor, and the instruction set that torch uses on it."""
    import torch

    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # where there is no /proc, the platform's word is all there is
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"
