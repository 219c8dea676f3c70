"""All pictures that apply to a model."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from surgeon.errors import ArgumentError, DataError, SurgeonError
from surgeon.host import in_own_state
from surgeon.insight import adversarial as attack
from surgeon.insight import changes, features, gradcam, kernels, masks
from surgeon.insight.listening import network_of
from surgeon.insight.picture import Picture
from surgeon.surgery.door import surgery_of


@in_own_state()
def pictures(
    subject: nn.Module,
    images: Tensor,
    labels: Tensor,
    adversarial: Tensor,
    *,
    beside: Mapping[str, nn.Module] | None = None,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    sigma: float = 0.1,
) -> tuple[list[Picture], list[str]]:
    """(the pictures of `subject`, why others could not be made).

    subject: takes pixels (N, C, H, W) in [0, 1] and gives logits. images, adversarial: such pixels, a few
    suffice, on the subject's device. labels: (N,) true classes. beside: other models, by their names in the
    charts. sigma: standard deviation of the Gaussian noise that the attack is compared with, in [0, 1]
    pixels; the sum is clipped to [0, 1]. The models stay as they are, hooks, modes and random states
    included.

    Raises DataError for images, labels and adversarial images that do not fit, ArgumentError for a negative
    sigma.
    """
    if (
        images.dim() != 4
        or images.shape != adversarial.shape
        or labels.shape != images.shape[:1]
        or len(images) == 0
    ):
        raise DataError(
            f"images {tuple(images.shape)}, labels {tuple(labels.shape)} and adversarial images "
            f"{tuple(adversarial.shape)} do not fit; expected (N, C, H, W), (N,) and (N, C, H, W), N at "
            "least 1"
        )
    if sigma < 0:
        raise ArgumentError(f"sigma={sigma} is negative; 0.1 is the papers' noise in [0, 1] pixels")
    if importlib.util.find_spec("matplotlib") is None:
        return [], ["no pictures: they need matplotlib: pip install 'fx-surgeon[report]'"]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)).to(images)
    noisy = (images + sigma * noise).clamp(0, 1)
    models = {_name(subject, beside or {}): subject, **(beside or {})}
    makers: dict[str, Callable[[], Picture]] = {
        "adversarial": lambda: attack.pictured(subject, images, labels, adversarial, class_names, seed=seed),
        "changes": lambda: changes.pictured_changes(
            models, images, noisy, adversarial, sigma=sigma, seed=seed
        ),
        "spread": lambda: changes.pictured_spread(models, images, seed=seed),
        "gradcam": lambda: gradcam.pictured(subject, images, labels, adversarial, class_names, seed=seed),
        "features": lambda: features.pictured(models, images, seed=seed),
        "kernels": lambda: kernels.pictured(subject),
    }
    if masks.masks(subject):
        makers["masks"] = lambda: masks.pictured(subject)
    made, skipped = [], []
    for name, make in makers.items():
        try:
            made.append(make())
        except Exception as error:  # a picture is no reason to lose an evaluation
            kind = "" if isinstance(error, SurgeonError) else f"{type(error).__name__}: "
            skipped.append(f"{name}: {kind}{' '.join(str(error).split())[:300]}")
    return made, skipped


def _name(subject: nn.Module, taken: Mapping[str, nn.Module]) -> str:
    record = surgery_of(network_of(subject))
    name = (record.recipe or "after the surgery") if record else "this model"
    return f"{name} (this model)" if name in taken else name
