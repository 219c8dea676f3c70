"""Validation figures do not depend on how many processes share the images."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from surgeon.data import Images
from surgeon.recipe import Adversary, Training
from surgeon.training.validation import ROBUST_IMAGES, robust_accuracy, validate

N = ROBUST_IMAGES + 301
ADVERSARY = Training.model_validate(
    {"adversary": {"method": "pgd", "eps": 0.15, "steps": 1, "step_size": 0.02}}
).adversary


def _data() -> tuple[nn.Module, Images]:
    drawn = torch.Generator().manual_seed(0)
    x, weight = torch.rand(N, 1, 4, 4, generator=drawn), torch.randn(5, 16, generator=drawn)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 5, bias=False))
    model[1].weight = nn.Parameter(weight)
    with torch.no_grad():
        return model, Images(x, model(x).argmax(1))


def _processes(world: int) -> list[tuple[Any, list[Tensor]]]:
    """What looks to validation like the accelerator of each process, and what it adds to the sums."""
    made = []
    for rank in range(world):
        given: list[Tensor] = []

        def reduce(sums: Tensor, how: str, given: list[Tensor] = given) -> Tensor:
            assert how == "sum"
            given.append(sums.clone())
            return sums

        of = dict(num_processes=world, process_index=rank, device=torch.device("cpu"), reduce=reduce)
        made.append((SimpleNamespace(**of), given))
    return made


@pytest.mark.parametrize("world", [2, 3, 5])
def test_robust_accuracy_is_of_the_same_images_from_the_same_starts(world: int) -> None:
    model, data = _data()
    alone = robust_accuracy(model, data, ADVERSARY, lambda z: z, _processes(1)[0][0], 0)
    assert 0.1 < alone < 0.95
    right = seen = 0.0
    for accelerator, given in _processes(world):
        robust_accuracy(model, data, ADVERSARY, lambda z: z, accelerator, 0)
        right, seen = right + float(given[0][0]), seen + float(given[0][1])
    assert seen == ROBUST_IMAGES
    assert right / seen == alone


@pytest.mark.parametrize("world", [2, 3, 7])
def test_each_image_is_validated_once(world: int) -> None:
    model, data = _data()
    half = Images(data.x, torch.where(torch.arange(N) % 2 == 0, data.y, (data.y + 1) % 5))
    given = [g for accelerator, g in _processes(world) if validate(model, half, "cpu", None, accelerator)]
    assert sum(float(g[0][2]) for g in given) == N
    assert sum(float(g[0][1]) for g in given) == (N + 1) // 2
    loss = nn.functional.cross_entropy(model(half.x).double(), half.y, reduction="sum")
    assert sum(float(g[0][0]) for g in given) == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.parametrize(
    "own",
    [{"method": "trades", "beta": 3.0}, {"method": "mart", "beta": 0.0}, {"method": "n-fgsm", "noise": 1.0}],
)
def test_what_a_method_alone_has_is_left_out_of_the_attack_of_validation(own):
    model, data = _data()
    (accelerator, _), steps = (
        _processes(1)[0],
        {} if own["method"] == "n-fgsm" else {"steps": 1, "step_size": 0.02},
    )
    plain = Adversary(method="pgd", eps=0.15, **steps)
    given = Adversary(eps=0.15, **steps, **own)
    assert robust_accuracy(model, data, given, lambda z: z, accelerator, 0) == robust_accuracy(
        model, data, plain, lambda z: z, accelerator, 0
    )
