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
from surgeon.insight.attacked_images import AttackedImages
from surgeon.insight.listening import network_of
from surgeon.insight.picture import Picture
from surgeon.surgery.door import surgery_of

_SHOWN = 5
"""Images that are drawn one by one."""


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
    """Make all pictures that apply to a model.

    The models stay unchanged, including hooks, modes and random states.

    Args:
        subject: Takes pixels (N, C, H, W) in [0, 1] and gives logits.
        images: (N, C, H, W) in [0, 1] on the subject's device; a few suffice.
        labels: (N,) true classes.
        adversarial: (N, C, H, W), the same images attacked.
        beside: Other models to compare with, by their names in the charts.
        seed: Seed of the noise, and for models that are random.
        class_names: Names of the classes; None for numbers.
        sigma: Standard deviation of the Gaussian noise that the attack is compared with, in [0, 1] pixels;
            noisy images are clipped to [0, 1].

    Returns:
        (the pictures, one sentence for each picture that could not be made).

    Raises:
        DataError: Images, labels and adversarial images do not fit together.
        ArgumentError: `sigma` is negative.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.insight import pictures
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
        >>> images, labels = torch.rand(1, 3, 8, 8), torch.tensor([0])
        >>> adversarial = (images + 0.03).clamp(0, 1)
        >>> made, skipped = pictures(model, images, labels, adversarial)
        >>> [picture.name for picture in made]
        ['adversarial', 'changes', 'spread']
        >>> [reason.partition(":")[0] for reason in skipped]
        ['gradcam', 'features', 'kernels']
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
    shown = AttackedImages(subject, images[:_SHOWN], labels[:_SHOWN], adversarial[:_SHOWN], class_names, seed)
    models = {_name(subject, beside or {}): subject, **(beside or {})}
    makers: dict[str, Callable[[], Picture]] = {
        "adversarial": lambda: attack.pictured(shown),
        "changes": lambda: changes.pictured_changes(
            models, images, noisy, adversarial, sigma=sigma, seed=seed
        ),
        "spread": lambda: changes.pictured_spread(models, images, seed=seed),
        "gradcam": lambda: gradcam.pictured(shown),
        "features": lambda: features.pictured(models, images, seed=seed),
        "kernels": lambda: kernels.pictured(subject),
    }
    if masks.masks(subject):
        makers["masks"] = lambda: masks.pictured(subject)
    made, skipped = [], []
    for name, make in makers.items():
        try:
            made.append(make())
        except Exception as error:  # an evaluation of hours must not be lost to a picture that fails
            kind = "" if isinstance(error, SurgeonError) else f"{type(error).__name__}: "
            skipped.append(f"{name}: {kind}{' '.join(str(error).split())[:300]}")
    return made, skipped


def _name(subject: nn.Module, taken: Mapping[str, nn.Module]) -> str:
    record = surgery_of(network_of(subject))
    name = (record.recipe or "after the surgery") if record else "this model"
    return f"{name} (this model)" if name in taken else name
