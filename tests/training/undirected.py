"""Run under torchrun: how many images each pass had, in a training that nobody told where to run; with "seed" or
"images" as the second argument, what is said where these differ by process; and whether the program's end leaves the
group of processes that the training joined."""

import atexit
import json
import os
import sys
from pathlib import Path

import torch
from torch import nn

from surgeon.data import Images
from surgeon.errors import ArgumentError
from surgeon.recipe import Training
from surgeon.training import fit

RANK, PLACE, DIFFERING = os.environ["RANK"], Path(sys.argv[1]), sys.argv[2:]
torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3))
x = torch.rand(48, 1, 8, 8)
if DIFFERING == ["images"] and RANK == "1":
    x[0, 0, 0, 0] = 0.5
images = Images(x, torch.arange(48) % 3)
counts: list[int] = []
network[0].register_forward_pre_hook(lambda module, given: counts.append(len(given[0])))
settings = Training(epochs=1, batch_size=16, lr=0.1)
said = ""


@atexit.register  # what was registered last is called first
def _left():
    (PLACE / f"{RANK}-left").write_text(str(not torch.distributed.is_initialized()))


try:
    fit(network, images, None, settings, seed=int(RANK) if DIFFERING == ["seed"] else 0, progress=False)
except ArgumentError as error:
    said = str(error)
(PLACE / RANK).write_text(json.dumps([counts[-3:], said]))
