"""The training loop: accelerate for devices and precision, timm for optimizers and schedules."""

from __future__ import annotations

import functools
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from surgeon.data import Images
from surgeon.errors import DataError, RecipeError, SurgeonError, nearest
from surgeon.files import write_csv
from surgeon.layers import AdversarialNoise
from surgeon.recipe import Training
from surgeon.training.anneal import anneal, anneals
from surgeon.training.checkpoint import Run, resume, store
from surgeon.training.progress import reporter
from surgeon.training.schedule import floor, schedule
from surgeon.training.steps import Loss, adversarial_noise, set_noise

METRICS = "metrics.csv"
PRECISIONS = ("no", "bf16", "fp16")


class Epoch(NamedTuple):
    """One row of the metrics. loss: mean over the training images. images_per_second: of training."""

    epoch: int
    loss: float
    lr: float
    val_loss: float
    val_accuracy: float
    images_per_second: float


History = list[Epoch]


def fit(
    model: nn.Module,
    train: Images,
    val: Images | None = None,
    settings: Training | None = None,
    *,
    folder: str | Path | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    mixed_precision: str = "no",
    progress: bool = True,
    label: str = "",
) -> History:
    """Train `model` in place; returns a row for each epoch.

    train, val: images (N, C, H, W) as the model takes them, with labels (N,). folder: where metrics and
    a checkpoint an epoch go; the same call with a folder that has a checkpoint goes on from there, and on a
    CPU ends with the weights of an uninterrupted run. Noise layers are on for `settings.noise_share` of the
    epochs, then off with the learning rate at its minimum; annealed layers reach their end after
    `settings.anneal_share` of the steps. Images are drawn in an order fixed by (seed, epoch); a last batch of
    a single image, on which batch norm cannot train, joins the one before.

    device: where to train, by default where accelerate would. mixed_precision: "no", "bf16" or "fp16".
    progress: a bar on a terminal, else a line an epoch, headed by `label`. Afterwards the model is on the
    device and in the mode that it came in, its noise layers are on, also after an error.

    Raises SurgeonError for a loss that is not finite, naming epoch, step and learning rate, and for a device
    that is not there; DataError for no images, images without their labels, or labels that are none of the
    model's classes; RecipeError for an unknown optimizer or schedule; ArtifactError for a folder that holds
    another training, or a damaged one.
    """
    settings = settings or Training()
    for name, images in (("train", train), ("val", val)):
        if images is not None and len(images.x) != len(images.y):
            raise DataError(
                f"{name} has {len(images.x)} images and {len(images.y)} labels; give one label each"
            )
        if images is not None and len(images.y) and int(images.y.min()) < 0:
            raise DataError(f"{name} has the label {int(images.y.min())}; give class indices from 0")
    if len(train.x) == 0:
        raise DataError("train has no images")
    was, home = model.training, next((p.device for p in model.parameters()), torch.device("cpu"))
    forward = model.__dict__.get("forward")
    try:
        return _fit(model, train, val, settings, folder, seed, device, mixed_precision, progress, label)
    finally:
        model.__dict__.pop("_original_forward", None)  # accelerate's autocast is for this training alone
        model.__dict__.pop("forward", None)
        if forward is not None:
            model.__dict__["forward"] = forward
        set_noise(model, True)
        model.to(home).train(was)


def _fit(
    model: nn.Module, train: Images, val: Images | None, settings: Training, folder: str | Path | None, seed: int,
    device: str | torch.device | None, mixed_precision: str, progress: bool, label: str,
) -> History:  # fmt: skip
    accelerator = _accelerator(device, mixed_precision)
    torch.manual_seed(seed)
    optimizer = _optimizer(model, settings)
    set_rate = schedule(optimizer, settings)
    network, optimizer = accelerator.prepare(model, optimizer)
    steps = len(_order(len(train.x), settings.batch_size, seed, 0))
    noisy = any(isinstance(m, AdversarialNoise) for m in model.modules())
    annealed = anneals(model)
    level = -1.0
    training = Run(model, optimizer, accelerator, _identity(settings, seed, train))
    rows: History = []
    place = Path(folder) if folder is not None else None
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
        rows = [Epoch(*r) for r in resume(place, training)]
        if rows and accelerator.is_main_process:
            write_csv(place / METRICS, Epoch._fields, rows)  # a kill may have come between the two files
    loss = functools.partial(_loss, highest=int(train.y.max()))
    report = reporter(settings.epochs * steps, len(rows) * steps, label, progress)
    with report:
        for epoch in range(len(rows), settings.epochs):
            quiet = noisy and epoch >= settings.noise_share * settings.epochs
            set_noise(model, not quiet)
            set_rate(epoch, [r.loss if math.isnan(r.val_loss) else r.val_loss for r in rows])
            if quiet:
                for group in optimizer.param_groups:
                    group["lr"] = floor(settings)
            lr = optimizer.param_groups[0]["lr"]
            began = time.perf_counter()
            total = 0.0
            network.train()
            for step, part in enumerate(_order(len(train.x), settings.batch_size, seed, epoch)):
                if annealed and level < 1:
                    now = _level(settings, epoch * steps + step + 1, settings.epochs * steps)
                    if now != level:
                        anneal(model, now)
                        level = now
                x, y = train.x[part].to(accelerator.device), train.y[part].to(accelerator.device)
                total += _step(
                    accelerator, network, optimizer, x, y, loss, settings, (epoch, step, lr)
                ) * len(part)
                report.advance()
            rate = len(train.x) / (time.perf_counter() - began)
            val_loss, val_accuracy = validate(network, val, accelerator.device)
            rows.append(Epoch(epoch, total / len(train.x), lr, val_loss, val_accuracy, rate))
            report.epoch(rows[-1])
            if place is not None and accelerator.is_main_process:
                store(place, training, rows)
                write_csv(place / METRICS, Epoch._fields, rows)
    return rows


def _accelerator(device: str | torch.device | None, mixed_precision: str) -> Any:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState

    if mixed_precision not in PRECISIONS:
        raise SurgeonError(f"mixed_precision={mixed_precision!r} is not known; 'no', 'bf16' and 'fp16' are")
    wanted = None if device is None else torch.device(device)
    on_cpu = wanted is not None and wanted.type == "cpu"
    if AcceleratorState._shared_state and PartialState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)  # else the first call decides for all
    accelerator = Accelerator(cpu=on_cpu, mixed_precision=mixed_precision)
    if wanted is not None and wanted.type != accelerator.device.type:
        raise SurgeonError(f"device={str(device)!r} is not there; accelerate finds {accelerator.device.type}")
    return accelerator


def _optimizer(model: nn.Module, settings: Training) -> Any:
    from timm.optim import create_optimizer_v2

    momentum = {"momentum": settings.momentum} if "sgd" in settings.optimizer else {}
    try:
        return create_optimizer_v2(
            model, opt=settings.optimizer, lr=settings.lr, weight_decay=settings.weight_decay, **momentum
        )
    except ValueError as error:
        from timm.optim import list_optimizers

        if settings.optimizer in list_optimizers():
            raise
        raise RecipeError(
            f"optimizer={settings.optimizer!r} is not known ({error}); "
            f"{nearest(settings.optimizer, list_optimizers())}"
        ) from None


def _identity(settings: Training, seed: int, train: Images) -> dict[str, Any]:
    return {**settings.model_dump(), "seed": seed, "images": list(train.x.shape)}


def _level(settings: Training, step: int, steps: int) -> float:
    """How far annealed layers are after `step` of `steps`, in 256ths: masks take time to redraw."""
    share = settings.anneal_share * steps
    return 1.0 if step >= share else math.floor(256 * step / share) / 256


def _step(
    accelerator: Any, network: nn.Module, optimizer: Any, x: Tensor, y: Tensor, loss_fn: Loss, settings: Training,
    place: tuple[int, int, float],
) -> float:  # fmt: skip
    optimizer.zero_grad()
    with accelerator.autocast(), adversarial_noise(network, x, y, loss_fn):
        loss = loss_fn(network(x), y)
        value = float(loss.detach())
        if not math.isfinite(value):
            epoch, step, lr = place
            where = f"in epoch {epoch}, step {step}, at learning rate {lr:g}"
            raise SurgeonError(f"the loss is {value} {where}; try a smaller one")
        accelerator.backward(loss)
    if settings.clip_grad is not None:
        accelerator.clip_grad_norm_(network.parameters(), settings.clip_grad)
    optimizer.step()
    return value


def _loss(output: Any, labels: Tensor, highest: int = -1) -> Tensor:
    """Cross-entropy; of the main output plus 0.3 of each auxiliary one, where a network gives several.

    highest: the highest label of all, known beforehand so that a GPU need not be asked at each step.
    """
    first = output if isinstance(output, Tensor) else output[0]
    if highest >= first.shape[1]:
        raise DataError(f"train has labels up to {highest}, the model has {first.shape[1]} classes")
    if isinstance(output, Tensor):
        return nn.functional.cross_entropy(output, labels)
    parts = [nn.functional.cross_entropy(o, labels) for o in output if o is not None]
    return parts[0] + 0.3 * sum(parts[1:], torch.zeros_like(parts[0]))


def _order(total: int, size: int, seed: int, epoch: int) -> list[Tensor]:
    """The indices of each batch, (n,) int64."""
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed * 100_003 + epoch))
    parts = list(order.split(size))
    if size > 1 and len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


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
