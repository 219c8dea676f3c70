"""Run under torchrun, or alone: the losses of each step of several trainings, as JSON from the first process.

All are in float64, so that two processes may be compared with one closely on any machine, but for those whose name
begins with "single": `single-canl` is CANL in float32, `single-canl-2` the same from weights nudged by the seed 2.
"""

import json
import os
import sys
from pathlib import Path

import timm
import torch
from torch.utils.data import TensorDataset

import surgeon
from surgeon.data import Images
from surgeon.recipe import Adversary, Training, WeightAverage, WeightPerturbation
from surgeon.training import adversarial_noise, fit, loop
from tests.sensitivity import doubled, nudge

SIZE = (3, 16, 16)
SURGERY = {
    "plain": None,
    "anl": {"op": "adversarial-noise", "source": "anl", "epsilon": 0.05},
    "canl": {"op": "adversarial-noise", "source": "canl", "epsilon": 0.05},
    "canl-half": {"op": "adversarial-noise", "source": "canl", "epsilon": 0.05, "cache_dtype": "float16"},
    "lat": {"op": "adversarial-noise", "source": "lat", "epsilon": 0.01},
    "kap": {"op": "kap", "sigma": 0.1},
    "fgsm-rs": None,
    "trades": None,
    "trades-kap": {"op": "kap", "sigma": 0.1},
    "fgsm-rs-dual": {"op": "dual-norm"},
    "trades-dual": {"op": "dual-norm"},
    "n-fgsm": None,
    "mart": None,
    "awp": None,
    "awp-anl": {"op": "adversarial-noise", "source": "anl", "epsilon": 0.05},
    "swa": None,
}


def data(number):
    """Images with a coloured column for a class."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 5, (number,), generator=generator)
    x = torch.rand(number, *SIZE, generator=generator) * 0.3
    x[torch.arange(number), 0, y] += 0.7
    return Images(x, y)


def network(name):
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=5, layers=(1, 1, 1, 1), channels=(8, 8, 16, 16))
    return surgeon.apply(model, SURGERY[name], input_size=SIZE, seed=1) if SURGERY[name] else model


def single(name):
    """`train` in float32."""
    _, name, *seed = name.split("-")
    model = network(name)
    if seed:
        nudge(model.parameters(), int(seed[0]))
    return train(name, model)


def settings_of(name, exact):
    one_step = next((m for m in ("n-fgsm", "fgsm-rs") if name.startswith(m)), None)
    method = one_step or {"awp": "pgd"}.get(name.split("-")[0], name.split("-")[0])
    attacked = one_step or method in ("trades", "mart", "pgd")
    return Training(
        epochs=3,
        batch_size=16,
        lr=0.02,
        noise_share=1.0,
        pad=2,
        flip=True,
        clip_grad=5.0,
        exact=exact,
        adversary=Adversary(method=method, eps=0.03, steps=1 if one_step else 2) if attacked else None,
        awp=WeightPerturbation(gamma=0.01) if name.startswith("awp") else None,
        swa=WeightAverage(start=0.4) if name == "swa" else None,
    )


def train(name, model=None):
    """The losses of 15 steps and the validation losses; the last batch of each epoch is uneven (but for LAT)."""
    name, exact = name.removesuffix("-apart"), not name.endswith("-apart")
    model = doubled(network(name)) if model is None else model
    settings = settings_of(name, exact)
    images = data(80 if name == "lat" else 77)  # LAT pairs samples with the last batch's, process by process
    seen, step = [], loop._Training._step

    def recorded(self, *arguments):
        seen.append(step(self, *arguments))
        return seen[-1]

    loop._Training._step = recorded
    rows = fit(model, images, images, settings, seed=3, device="cpu", progress=False)
    loop._Training._step = step
    caches = [m.cache.double().sum().item() for m in model.modules() if getattr(m, "cache", None) is not None]
    return {"losses": seen, "val": [r.val_loss for r in rows], "caches": caches}


def own_loop(name):
    """Eight steps of a loop of one's own: alone, in DistributedDataParallel, or fully sharded; each its part."""
    kind, source = name.split("-")
    several = torch.distributed.is_initialized()
    rank = torch.distributed.get_rank() if several else 0
    world = torch.distributed.get_world_size() if several else 1
    torch.manual_seed(0)
    model = surgeon.create_model("zoo/lenet5", in_chans=3, num_classes=5, input_size=SIZE)
    cut = {"op": "adversarial-noise", "source": source, "after": "conv", "epsilon": 0.1}
    model = doubled(surgeon.apply(model, cut, input_size=SIZE, seed=1)).train()
    called = model
    if several and kind == "ddp":
        called = torch.nn.parallel.DistributedDataParallel(model)
    elif several:
        called = torch.distributed.fsdp.fully_shard(model)
    optimizer = torch.optim.SGD(called.parameters(), lr=0.05, momentum=0.9)
    loss_fn = torch.nn.functional.cross_entropy
    images = data(64)
    losses = []
    for part in torch.arange(64).split(16) * 2:
        own = part.tensor_split(world)[rank]
        x, y = images.x[own], images.y[own]
        optimizer.zero_grad()
        with adversarial_noise(called, x, y, loss_fn):
            loss = loss_fn(called(x), y)
            loss.backward()
        optimizer.step()
        loss = loss.detach()
        if several:
            torch.distributed.all_reduce(loss)
        losses.append(float(loss) / world)
    caches = [m.cache.double().sum().item() for m in model.modules() if getattr(m, "cache", None) is not None]
    return {"losses": losses, "caches": caches}


def broken(name):
    """What a training says of an image that is none, of the first process's part or the second's."""
    images = data(32)
    batches = loop.Batches(images, 16, 3).order(0)
    images.x[batches[1][0 if name == "broken-first" else -1]] = float("nan")
    model = timm.create_model("resnet18", num_classes=5, layers=(1, 1, 1, 1), channels=(8, 8, 16, 16))
    try:
        one_by_one = TensorDataset(*images)  # of which the first alone is looked at beforehand
        fit(model, one_by_one, None, Training(epochs=1, batch_size=16), seed=3, device="cpu", progress=False)
    except surgeon.SurgeonError as error:
        return str(error)
    return "nothing"


def own(name):
    """The function that a name is for."""
    kinds = {"ddp": own_loop, "fsdp": own_loop, "broken": broken, "single": single}
    return kinds.get(name.split("-")[0], train)


if __name__ == "__main__":
    if "RANK" in os.environ:
        torch.distributed.init_process_group("gloo")
    found = {name: own(name)(name) for name in sys.argv[2:]}
    if int(os.environ.get("RANK", "0")) == 0:
        Path(sys.argv[1]).write_text(json.dumps(found))
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        os._exit(0)  # gloo's threads may abort the interpreter's own end, when all is done
