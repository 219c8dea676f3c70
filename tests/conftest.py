"""Things that several tests use: small networks, and data from a shared folder where there is one."""

from __future__ import annotations

import os
from pathlib import Path

# torch keeps compiled graphs on the disk without noting for which instructions: those of another setting
# compute wrongly
os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "0")
if os.environ.get("SURGEON_TEST_GPU") != "1":  # what is compared bit for bit is compared on a CPU
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

import pytest
import torch
from torch import nn

ROOMS = sorted(p.parent.name for p in (Path(__file__).parents[1] / "surgeon/methods").glob("*/__init__.py"))
NUMERIC = (
    *(p for p in (f"methods/test_{room}.py" for room in ROOMS) if (Path(__file__).parent / p).is_file()),
    "cli/test_convert.py",
    "cli/test_train.py",
    "evaluation/test_adaptive.py",
    "evaluation/test_attacks.py",
    "evaluation/test_certification.py",
    "evaluation/test_diagnostics.py",
    "evaluation/test_engine.py",
    "evaluation/test_engine_folder.py",
    "graph/test_checkpointing.py",
    "graph/test_functions_as_sites.py",
    "graph/test_joined.py",
    "graph/test_read_weights.py",
    "graph/test_variants.py",
    "graph/test_variants_in_threads.py",
    "insight/test_changes.py",
    "insight/test_gradcam.py",
    "insight/test_kernels.py",
    "insight/test_maps.py",
    "interop/test_compilers.py",
    "interop/test_containers_changed.py",
    "interop/test_distributed.py",
    "interop/test_exchanged.py",
    "interop/test_exchanged_norms.py",
    "interop/test_exported_files.py",
    "interop/test_features.py",
    "interop/test_loops.py",
    "interop/test_quantisation.py",
    "interop/test_second_reader.py",
    "interop/test_timm_scripts.py",
    "interop/test_unbatched.py",
    "interop/test_weights.py",
    "interop/test_written_in_place.py",
    "methods/test_adversarial_layer.py",
    "methods/test_box.py",
    "methods/test_channel_order.py",
    "methods/test_channel_statistics.py",
    "methods/test_conv_pool.py",
    "methods/test_convolution.py",
    "methods/test_kap_kernels.py",
    "methods/test_kap_weights.py",
    "methods/test_noise.py",
    "methods/test_surrogates.py",
    "methods/test_transforms.py",
    "methods/test_weight_map_fit.py",
    "own_models/",
    "surgery/test_apply.py",
    "surgery/test_calibration.py",
    "surgery/test_equations.py",
    "surgery/test_fold.py",
    "surgery/test_made_weights.py",
    "surgery/test_refit.py",
    "surgery/test_starts.py",
    "test_mapped.py",
    "training/",
)
"""Where tests compare numbers that rounding touches: they are marked `numeric`, for `make portability`. What takes long
and holds by a wide margin is left out."""
PROCESSES = (
    "cli/test_train.py::test_killed",
    "evaluation/test_engine_folder.py::test_neither_a_kill",
    "interop/test_distributed.py",
    "training/test_processes.py",
    "training/test_resume.py::test_killed_again",
)
"""Tests that start processes and compare them with one another, which all round alike. They are marked `processes`, as
is a network of 2²⁷ numbers: `make portable` leaves them out."""
SLOW = frozenset((Path(__file__).parent / "slow.txt").read_text().split())
"""What `make test` leaves to `make test-all`, by file and function: `python -m tests.slow` writes the list."""
SHARED = Path(os.environ.get("SURGEON_SHARED", Path(__file__).parents[2] / "shared"))


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if not item.path.is_relative_to(here):  # collected beside the tests: examples in docstrings
            continue
        inside = item.path.relative_to(here).as_posix()
        if inside.startswith(NUMERIC):
            item.add_marker("numeric")
        if f"{inside}::{item.name}".startswith(PROCESSES):
            item.add_marker("processes")
        if f"{inside}::{item.name.split('[')[0]}" in SLOW:
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with MNIST, CIFAR-10 as JPEG and a trained ResNet-20."""
    if not (SHARED / "weights").is_dir():
        pytest.skip(f"needs the shared data folder, which is not at {SHARED}")
    return SHARED


class Tiny(nn.Module):
    """Two convolutions, norms, an in-place activation, a residual and functional dropout."""

    def __init__(self, channels: int = 16, classes: int = 5, drop: float = 0.3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, classes)
        self.num_classes = classes
        self.drop = drop

    def forward(self, x):
        x = self.act1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(x))
        y += x
        y = y.relu_().mean((2, 3))
        y = nn.functional.dropout(y, self.drop, self.training)
        return self.head(y)


@pytest.fixture
def tiny() -> Tiny:
    """A Tiny network whose batch norms have seen data."""
    model = Tiny()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(16, 3, 8, 8))
    return model.eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
