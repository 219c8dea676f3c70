"""The training loop: accelerate for devices and precision, timm for optimizers and schedules."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from surgeon.data import Images
from surgeon.errors import SurgeonError
from surgeon.files import write_csv
from surgeon.layers import AdversarialNoise
from surgeon.recipe import Training
from surgeon.training.anneal import anneal, anneals
from surgeon.training.progress import reporter
from surgeon.training.steps import adversarial_noise, set_noise

CHECKPOINT, METRICS = "checkpoint.pt", "metrics.csv"


class Epoch(NamedTuple):
    """One row of the metrics. loss: mean over the training images. images_per_second: of training."""

    epoch: int
    loss: float
    lr: float
    val_loss: float
    val_accuracy: float
    images_per_second: float


def fit(
    model: nn.Module,
    train: Images,
    val: Images | None = None,
    settings: Training | None = None,
    *,
    folder: str | Path | None = None,
    seed: int = 0,
    mixed_precision: str = "no",
    label: str = "",
) -> list[Epoch]:
    """Train `model` in place; returns a row for each epoch.

    train, val: images (N, C, H, W) as the model takes them, with labels (N,). folder: where metrics and
    a checkpoint an epoch go; the same call with a folder that has a checkpoint goes on from there, and on a
    CPU ends with the weights of an uninterrupted run. Noise layers are on for `settings.noise_share` of the
    epochs, then off with the learning rate at its minimum; annealed layers reach their end after
    `settings.anneal_share` of the steps.

    Raises SurgeonError for a loss that is not finite, naming epoch, step and learning rate.
    """
    from accelerate import Accelerator
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2

    settings = settings or Training()
    accelerator = Accelerator(mixed_precision=mixed_precision)
    torch.manual_seed(seed)
    optimizer: Any = create_optimizer_v2(
        model, opt=settings.optimizer, lr=settings.lr, weight_decay=settings.weight_decay,
        **({"momentum": settings.momentum} if "sgd" in settings.optimizer else {}),
    )  # fmt: skip
    schedule, _ = create_scheduler_v2(
        optimizer, sched=settings.schedule, num_epochs=max(settings.epochs, 1), min_lr=settings.min_lr,
        warmup_epochs=0, step_on_epochs=True,
    )  # fmt: skip
    network, optimizer = accelerator.prepare(model, optimizer)
    steps = max(1, math.ceil(len(train.x) / settings.batch_size))
    noisy = any(isinstance(m, AdversarialNoise) for m in model.modules())
    rows: list[Epoch] = []
    place = Path(folder) if folder is not None else None
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
        rows = _resume(place, model, optimizer, schedule)
    report = reporter(settings.epochs * steps, len(rows) * steps, label)
    with report:
        for epoch in range(len(rows), settings.epochs):
            quiet = noisy and epoch >= settings.noise_share * settings.epochs
            set_noise(model, not quiet)
            schedule.step(epoch)
            if quiet:
                for group in optimizer.param_groups:
                    group["lr"] = settings.min_lr
            lr = optimizer.param_groups[0]["lr"]
            began = time.perf_counter()
            total = 0.0
            network.train()
            for step, (x, y) in enumerate(_batches(train, settings.batch_size, seed, epoch)):
                if anneals(model):
                    share = settings.anneal_share * settings.epochs * steps
                    anneal(model, 1.0 if share == 0 else (epoch * steps + step + 1) / share)
                total += _step(accelerator, network, model, optimizer, x, y, settings, (epoch, step, lr)) * len(x)
                report.advance()
            rate = len(train.x) / (time.perf_counter() - began)
            val_loss, val_accuracy = validate(network, val, accelerator.device)
            rows.append(Epoch(epoch, total / len(train.x), lr, val_loss, val_accuracy, rate))
            report.epoch(rows[-1])
            if place is not None and accelerator.is_main_process:
                _save(place, rows, model, optimizer, schedule)
    set_noise(model, True)
    return rows


def _step(
    accelerator: Any, network: nn.Module, model: nn.Module, optimizer: Any, x: Tensor, y: Tensor,
    settings: Training, place: tuple[int, int, float],
) -> float:  # fmt: skip
    x, y = x.to(accelerator.device), y.to(accelerator.device)
    optimizer.zero_grad()
    with accelerator.autocast(), adversarial_noise(network, x, y, _loss):
        loss = _loss(network(x), y)
        value = float(loss.detach())
        if not math.isfinite(value):
            epoch, step, lr = place
            raise SurgeonError(f"the loss is {value} in epoch {epoch}, step {step}, at learning rate {lr:g}; try a smaller one")
        accelerator.backward(loss)
    if settings.clip_grad is not None:
        accelerator.clip_grad_norm_(network.parameters(), settings.clip_grad)
    optimizer.step()
    return value


def _loss(output: Any, labels: Tensor) -> Tensor:
    """Cross-entropy; of the main output plus 0.3 of each auxiliary one, where a network gives several."""
    if isinstance(output, Tensor):
        return nn.functional.cross_entropy(output, labels)
    parts = [nn.functional.cross_entropy(o, labels) for o in output if o is not None]
    return parts[0] + 0.3 * sum(parts[1:], torch.zeros_like(parts[0]))


def _batches(data: Images, size: int, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(seed * 100_003 + epoch))
    for part in order.split(size):
        if len(part) > 1 or len(data.x) == 1:  # batch norm cannot train on a single image
            yield data.x[part], data.y[part]


@torch.no_grad()
def validate(network: nn.Module, data: Images | None, device: Any) -> tuple[float, float]:
    """Mean cross-entropy and accuracy in evaluation mode; NaN without data."""
    if data is None or len(data.x) == 0:
        return math.nan, math.nan
    was = network.training
    network.eval()
    loss, right = 0.0, 0
    for x, y in zip(data.x.split(256), data.y.split(256), strict=True):
        output = network(x.to(device))
        y = y.to(device)
        loss += float(nn.functional.cross_entropy(output, y, reduction="sum"))
        right += int((output.argmax(1) == y).sum())
    network.train(was)
    return loss / len(data.x), right / len(data.x)


def _save(place: Path, rows: list[Epoch], model: nn.Module, optimizer: Any, schedule: Any) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": {k: v for k, v in schedule.state_dict().items() if isinstance(v, (int, float, str, bool, list))},
        "noise": {n: m.get_memory() for n, m in model.named_modules() if isinstance(m, AdversarialNoise)},
        "random": torch.get_rng_state(),
        "rows": [list(r) for r in rows],
    }
    beside = place / f".{CHECKPOINT}.{os.getpid()}"
    torch.save(state, beside)
    os.replace(beside, place / CHECKPOINT)
    write_csv(place / METRICS, Epoch._fields, rows)


def _resume(place: Path, model: nn.Module, optimizer: Any, schedule: Any) -> list[Epoch]:
    path = place / CHECKPOINT
    if not path.is_file():
        return []
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    for name, memory in state["noise"].items():
        model.get_submodule(name).set_memory(memory)  # type: ignore[operator]
    torch.set_rng_state(state["random"])
    return [Epoch(*r) for r in state["rows"]]
