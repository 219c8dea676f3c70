"""What the other process does with the networks that it was given."""

import copy
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset

from surgeon.training import adversarial_noise
from tests.host import recipes


def told(networks, queue):
    """Put what each network says into the queue, in evaluation and in a step of training."""
    torch.set_num_threads(1)
    queue.put({name: said(network) for name, network in networks.items()})


def said(network):
    logits, gradients, evaluated = recipes.step(copy.deepcopy(network), *recipes.batch())
    return logits.tolist(), [None if g is None else g.tolist() for g in gradients], evaluated.tolist()


class Held(Dataset):
    """Gives what its networks say: the workers of a DataLoader hold them."""

    def __init__(self, networks):
        self.networks = list(networks.values())

    def __len__(self):
        return len(self.networks)

    def __getitem__(self, i):
        torch.set_num_threads(1)
        return said(self.networks[i])


def trained(rank, networks, port, queue):
    """One of two processes: a step of each network in DDP, on half of the batch."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    x, y = (part[rank::2] for part in recipes.batch())
    found = {}
    for name, network in networks.items():
        model = copy.deepcopy(
            network
        ).train()  # what mp.spawn hands over lies in memory that both processes share
        parallel = nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with adversarial_noise(parallel, x, y, cross_entropy):
            cross_entropy(parallel(x), y).backward()
        optimizer.step()
        found[name] = [p.detach().tolist() for p in model.parameters()]
    queue.put((rank, found))
    dist.barrier()
    dist.destroy_process_group()
