"""Run as a process of two: a rewritten network in DDP, FSDP2 and FSDP1; prints what it found as JSON."""

import copy
import json
import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.functional import cross_entropy

import surgeon
from tests.conftest import Tiny


def network(recipe):
    torch.manual_seed(0)
    model = surgeon.apply(Tiny(drop=0.0), recipe, input_size=(3, 8, 8), seed=1)
    for module in model.modules():  # so that two halves of a batch are the whole
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
        if hasattr(module, "sigma"):
            module.sigma = 0.0
    return model


def half(rank):
    torch.manual_seed(1)
    images, labels = torch.randn(8, 3, 8, 8), torch.arange(8) % 5
    return images[rank::2], labels[rank::2], images, labels


def alone(recipe, images, labels):
    """The gradients of one process on the whole batch."""
    model = network(recipe)
    cross_entropy(model(images), labels).backward()
    return {k: p.grad for k, p in model.named_parameters()}


def apart(model, wanted):
    """The largest difference of a gradient."""
    found = {k.removeprefix("module."): p.grad for k, p in model.named_parameters()}
    full = {k: g.full_tensor() if hasattr(g, "full_tensor") else g for k, g in found.items()}
    return max(float((full[k] - wanted[k]).abs().max()) for k in wanted)


def ddp(recipe, rank):
    x, y, images, labels = half(rank)
    model = nn.parallel.DistributedDataParallel(network(recipe))
    cross_entropy(model(x), y).backward()
    return apart(model, alone(recipe, images, labels))


def fsdp(recipe, rank, mesh):
    from torch.distributed.fsdp import fully_shard

    x, y, images, labels = half(rank)
    model = fully_shard(network(recipe), mesh=mesh)
    cross_entropy(model(x), y).backward()
    difference = apart(model, alone(recipe, images, labels))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.step()
    sharded = all(hasattr(p, "full_tensor") for p in model.parameters())
    return difference, sharded and bool(torch.isfinite(model(x)).all())


class Nested(nn.Module):
    """A network with a block."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.block(x).mean((2, 3)))


def containers(mesh):
    """What happens where a block that the graph opens is sharded by itself."""
    from torch.distributed.fsdp import fully_shard

    model = surgeon.apply(Nested(), "kap", input_size=(3, 8, 8))
    fully_shard(model.block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    try:
        model(torch.randn(2, 3, 8, 8))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def wrapped(original):
    """How far the outputs and the gradient of FSDP1 with blocks of its own are from those of one process."""
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    torch.manual_seed(0)
    model = surgeon.apply(Nested(), "input-noise", input_size=(3, 8, 8)).eval()
    twin = copy.deepcopy(model)
    sharded = FullyShardedDataParallel(
        model,
        use_orig_params=original,
        auto_wrap_policy=ModuleWrapPolicy({nn.Sequential}),
        device_id=torch.device("cpu"),
    )
    images = torch.randn(2, 3, 8, 8).requires_grad_()
    found = []
    for one in (sharded, twin):
        outputs = one(images)
        found.append((outputs, *torch.autograd.grad(outputs.square().sum(), images)))
    return max(float((a - b).abs().max()) for a, b in zip(*found, strict=True))


def main():
    rank, port = int(sys.argv[1]), sys.argv[2]
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (2,))
    found = {
        "ddp": {r: ddp(r, rank) for r in ("kap", "anl", "wm-unsharp", "defective")},
        "fsdp": {r: fsdp(r, rank, mesh) for r in ("kap", "anl", "wm-unsharp", "defective")},
        "containers": containers(mesh),
        "wrapped": [wrapped(original) for original in (True, False)],
    }
    print(json.dumps(found), flush=True)
    dist.barrier()
    os._exit(0)  # gloo may abort at exit after fully_shard


if __name__ == "__main__":
    main()
