"""Run under torchrun: a fully sharded training is stored, goes on, is taken back, and goes on again in the same way."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import torch

import surgeon
from surgeon.training import adversarial_noise
from surgeon.training.checkpoint import Progress, Run, resume, store


def build():
    torch.manual_seed(0)
    model = surgeon.create_model("zoo/lenet5", num_classes=5)
    cut = {"op": "adversarial-noise", "source": "canl", "after": "conv", "epsilon": 0.1}
    model = surgeon.apply(model, cut, input_size=(1, 28, 28), seed=1).train()
    network = torch.distributed.fsdp.fully_shard(model)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    accelerator = SimpleNamespace(
        distributed_type="DistributedType.FSDP",
        scaler=None,
        is_main_process=rank == 0,
        num_processes=world,
        process_index=rank,
    )
    return Run(model, network, SimpleNamespace(optimizer=optimizer), accelerator, None, {"seed": 0})


def steps(run, number, first):
    loss_fn = torch.nn.functional.cross_entropy
    losses = []
    for step in range(first, first + number):
        generator = torch.Generator().manual_seed(10 * step + torch.distributed.get_rank())
        x, y = torch.rand(8, 1, 28, 28, generator=generator), torch.arange(8) % 5
        optimizer = run.optimizer.optimizer
        optimizer.zero_grad()
        with adversarial_noise(run.network, x, y, loss_fn):
            loss = loss_fn(run.network(x), y)
            loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    folder = Path(sys.argv[1])
    first = build()
    steps(first, 3, 0)
    store(folder, first, Progress(epoch=1, step=3), None)
    torch.distributed.barrier()
    wanted = steps(first, 3, 3)
    again = build()
    progress, _ = resume(folder, again)
    assert (progress.epoch, progress.step) == (1, 3)
    assert steps(again, 3, 3) == wanted
    torch.distributed.barrier()
    os._exit(0)  # gloo's threads may abort the interpreter's own end, when all is done
