"""The engine against each attack called by itself, and our PGD against torchattacks' at equal steps.

A CIFAR-10 ResNet-20, JPEG test images class by class. Single attacks of torchattacks give the official robust
accuracies to the sample; here each is called once on all images that are right, and the engine must leave as
many standing: whatever blocks, survivors and scoring do. Square draws by block in the engine: its row may
differ by a few images.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import surgeon
from experiments.rows import arguments, collect, show
from surgeon.data import held_out
from surgeon.evaluation import Attack, Normalized, evaluate, summarize
from surgeon.evaluation.attacks.dispatch import run_attack, torchattacks
from surgeon.models import normalization_of
from surgeon.models.quiet import held_still

STEPS, TARGETS, QUERIES = 50, 3, 200
SIZES = (("linf", 1 / 255), ("linf", 2 / 255), ("l2", 0.25))


class Times(nn.Module):
    """A model whose logits are larger."""

    def __init__(self, model: nn.Module, factor: int) -> None:
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) * self.factor


def main() -> None:
    given = arguments(__doc__ or "", "attack-parity", count=200)
    weights = next((Path(given.data).parent / "weights").glob("resnet20-*.th"))
    network = surgeon.create_model("zoo/cifar_resnet20", weights=str(weights)).eval()
    model = Normalized(network, *(normalization_of(network) or (None, None)))
    test = held_out(str(Path(given.data) / "cifar10-jpeg"), (3, 32, 32), count=given.count)
    with torch.no_grad():
        right = model(test.x).argmax(1) == test.y
    x, y = test.x[right], test.y[right]

    def standing(moved: Tensor) -> int:
        with torch.no_grad():
            return int((model(moved).argmax(1) == y).sum())

    rows: dict[str, Callable[[int, Path], dict[str, float]]] = {}
    for norm, eps in SIZES:
        for name, (attack, alone) in _single(norm, eps).items():

            def one(seed: int, folder: Path, attack: Attack = attack, alone: Any = alone) -> dict[str, float]:
                with held_still(model, 0):
                    theirs = alone(model)(x, y)
                return {
                    "alone": standing(theirs),
                    "engine": summarize(evaluate(model, test.x, test.y, [attack])).worst.k,
                }

            rows[f"{name} {attack.label.split(' ', 1)[1]}"] = one
        for steps in (10, 20):
            for factor in (1, 4):

                def two(
                    seed: int, folder: Path, n: str = norm, e: float = eps, s: int = steps, f: int = factor
                ) -> dict[str, float]:
                    large, both = Times(model, f), {}
                    for kind in ("pgd", "own-pgd"):
                        attack = Attack.model_validate(
                            {"name": kind, "kind": kind, "norm": n, "eps": e, "steps": s}
                        )
                        both[kind] = standing(run_attack(attack, large, x, y, seed=seed))
                    return {"torchattacks": both["pgd"], "ours": both["own-pgd"]}

                rows[f"PGD-{steps} {norm} {eps:.4f}, logits ×{factor}"] = two
    print(f"{len(x)} of {len(test.y)} images are right as they are")
    show(collect(rows, given), {})


def _single(norm: str, eps: float) -> dict[str, tuple[Attack, Callable[[nn.Module], Any]]]:
    """name → (the attack as data, torchattacks' own with the same settings)."""
    package, norm_name = torchattacks(), {"linf": "Linf", "l2": "L2"}[norm]
    shared: dict[str, Any] = {"norm": norm, "eps": eps}
    theirs: dict[str, Any] = {"norm": norm_name, "eps": eps, "steps": STEPS, "n_restarts": 1, "seed": 0}
    return {
        "APGD-CE": (
            Attack(name="apgd-ce", kind="apgd", steps=STEPS, **shared),
            lambda m: package.APGD(m, loss="ce", eot_iter=1, rho=0.75, **theirs),
        ),
        "APGD-T": (
            Attack(name="apgd-t", kind="apgdt", steps=STEPS, targets=TARGETS, **shared),
            lambda m: package.APGDT(m, eot_iter=1, rho=0.75, n_classes=TARGETS + 1, **theirs),
        ),
        "FAB-T": (
            Attack(name="fab-t", kind="fab", steps=STEPS, targets=TARGETS, **shared),
            lambda m: package.FAB(
                m, alpha_max=0.1, eta=1.05, beta=0.9, multi_targeted=True, n_classes=TARGETS + 1, **theirs
            ),
        ),
        "Square": (
            Attack(name="square", kind="square", steps=QUERIES, loss="margin", **shared),
            lambda m: package.Square(
                m,
                norm=norm_name,
                eps=eps,
                n_queries=QUERIES,
                n_restarts=1,
                p_init=0.8,
                loss="margin",
                resc_schedule=False,
                seed=0,
            ),
        ),
    }


if __name__ == "__main__":
    main()
