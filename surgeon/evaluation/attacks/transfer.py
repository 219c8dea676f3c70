"""Transfer: adversarial images made for one model, tried on others (Table A3 of the KAP paper)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from surgeon.arguments import checked_seed
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
    """Accuracy of `target` on images made for `source`: white-box where both are one."""

    source: str
    target: str
    share: Share


@in_own_state()
def transfer_matrix(
    models: Mapping[str, nn.Module], images: Tensor, labels: Tensor, attack: Attack, *, seed: int = 0
) -> tuple[Transferred, ...]:
    """Every model on the adversarial images of every other, and its own.

    models: by name, each of pixels in [0, 1]. images: (N, C, H, W) in [0, 1]. labels: (N,). attack: made against each
    source in turn, on all images; what a source gets wrong anyway stays as it is found.

    Raises as `evaluate`.
    """
    seed, (attack,) = checked_seed(seed), checked_attacks([attack])
    for name, model in models.items():
        images, labels, classes = admitted(model, images, labels, seed=seed)
        check_needs([attack], images, classes)
        if attack.needs.gradients:
            check_gradients(Attacked(model), images, labels, what=f"model {name}", seed=seed)
    found = []
    for source, attacked in models.items():
        right = dict.fromkeys(models, 0)
        for k, (x, y) in enumerate(zip(images.split(BLOCK), labels.split(BLOCK), strict=True)):
            x, y = x.to(device_of(attacked)), y.to(device_of(attacked))
            stream = zlib.crc32(f"{seed}/{attack.label}/{source}/{k}".encode())
            moved = tightened(run_attack(attack, Attacked(attacked), x, y, seed=stream), x, attack)
            check_adversarial(moved, x, attack)
            for target, model in models.items():
                with held_still(model, stream):
                    right[target] += int((score(model, moved, y).prediction == y.cpu()).sum())
        found += [Transferred(source, target, wilson(right[target], len(labels))) for target in models]
    return tuple(found)
