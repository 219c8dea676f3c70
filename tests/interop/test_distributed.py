"""DDP, FSDP2 and FSDP1, on two processes of the CPU."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.conftest import RECIPES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found():
    """What the two processes found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "tests.interop.two_processes"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [*command, str(rank), port],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        for rank in (0, 1)
    ]
    try:
        told = [process.communicate(timeout=600) for process in running]
    finally:
        for process in running:
            process.kill()
    assert all(p.returncode == 0 for p in running), [err[-2000:] for _, err in told]
    return [json.loads(out.splitlines()[-1]) for out, _ in told]


@pytest.mark.parametrize("recipe", RECIPES)
def test_ddp_gives_the_gradients_of_one_process(found, recipe):
    assert all(process["ddp"][recipe] < 1e-5 for process in found)


@pytest.mark.parametrize("recipe", RECIPES)
def test_fully_shard_of_the_whole_network_gives_the_gradients_of_one_process(found, recipe):
    for process in found:
        difference, trains = process["fsdp"][recipe]
        assert difference < 1e-5 and trains


def test_a_block_sharded_by_itself_is_an_error(found):
    """The graph calls what is in a block and not the block, so its weights are not gathered."""
    assert all("DTensor" in process["containers"] for process in found)


@pytest.mark.parametrize("original", [True, False])
def test_a_block_that_fsdp1_wraps_is_called_and_no_trace_goes_into_it(found, original):
    """While it is made, it walks over the network; a trace through it would set it up on what stands for tensors."""
    assert all(process["wrapped"][not original] < 1e-5 for process in found)
