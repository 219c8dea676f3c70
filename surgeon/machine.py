"""What produced a result: versions, machine, processes, command."""

from __future__ import annotations

import contextlib
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
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
        "gpus": gpus,
        "processes": world(),
        "threads": torch.get_num_threads(),
        "command": sys.argv,
    }
