"""Transfer: adversarial images made for one model and tested on others (Table A3 of the KAP paper)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from surgeon.arguments import checked_by_name, checked_seed
from surgeon.evaluation.attacks.attacked import Attacked
from surgeon.evaluation.attacks.dispatch import run_attack
from surgeon.evaluation.attacks.gradients import check_gradients
from surgeon.evaluation.attacks.preconditions import check_needs
from surgeon.evaluation.engine.admission import admitted, checked_attacks
from surgeon.evaluation.engine.blocks import BLOCK
from surgeon.evaluation.engine.scoring import check_adversarial, device_of, score, tightened
from surgeon.host import in_own_state
from surgeon.models.quiet import held_still
from surgeon.results.statistics import Share, wilson
from surgeon.results.threat import Attack


class Transferred(NamedTuple):
    """Accuracy of `target` on images made for `source`; white-box accuracy if they are the same model."""

    source: str
    target: str
    share: Share


@in_own_state()
def transfer_matrix(
    models: Mapping[str, nn.Module], images: Tensor, labels: Tensor, attack: Attack, *, seed: int = 0
) -> tuple[Transferred, ...]:
    """Test every model on the adversarial images made for every model, itself included.

    The attack runs on all images, also on those that the source misclassifies already.

    Args:
        models: Models by name, each of [0, 1] pixels.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) class indices.
        attack: The attack, made for each source in turn.
        seed: Seed of the attack.

    Returns:
        One accuracy for each pair of source and target.

    Raises:
        DataError: Images, labels or a model do not fit, or gradients are missing or not finite.
        AttackError: The attack needs another model or larger images.
        ArgumentError: `models`, `attack` or `seed` is invalid.
        VerificationError: An adversarial image is not finite, leaves [0, 1] or lies outside the ball.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.evaluation import Attack, transfer_matrix
        >>> models = {name: nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 3)) for name in "ab"}
        >>> images, labels = torch.rand(6, 3, 4, 4), torch.arange(6) % 3
        >>> pgd = Attack(name="pgd", kind="own-pgd", eps=8 / 255, steps=5)
        >>> [(row.source, row.target) for row in transfer_matrix(models, images, labels, pgd)]
        [('a', 'a'), ('a', 'b'), ('b', 'a'), ('b', 'b')]
    """
    seed, (attack,) = checked_seed(seed), checked_attacks([attack])
    checked_by_name("models", models)
    for name, model in models.items():
        images, labels, classes = admitted(model, images, labels, seed=seed)
        check_needs([attack], images, classes)
        if attack.needs.gradients:
            check_gradients(Attacked(model), images, labels, what=f"model {name}", seed=seed)
    rows = []
    for source, attacked in models.items():
        right = dict.fromkeys(models, 0)
        for k, (x, y) in enumerate(zip(images.split(BLOCK), labels.split(BLOCK), strict=True)):
            x, y = x.to(device_of(attacked)), y.to(device_of(attacked))
            stream = zlib.crc32(f"{seed}/{attack.label}/{source}/{k}".encode())
            adversarial = tightened(run_attack(attack, Attacked(attacked), x, y, seed=stream), x, attack)
            check_adversarial(adversarial, x, attack)
            for target, model in models.items():
                with held_still(model, stream):
                    right[target] += int((score(model, adversarial, y).prediction == y.cpu()).sum())
        rows += [Transferred(source, target, wilson(right[target], len(labels))) for target in models]
    return tuple(rows)
