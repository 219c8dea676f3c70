"""Diagnostics: cheap checks that show when attacks cannot be trusted.

After Carlini et al. 2019 and Athalye et al. 2018. The statistics behind the verdicts, and how often chance
alone may fail a check, are in `checks`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from surgeon.arguments import checked_count, checked_number, checked_seed
from surgeon.errors import ArgumentError
from surgeon.evaluation.attacks.attacked import Attacked
from surgeon.evaluation.attacks.dispatch import run_attack
from surgeon.evaluation.attacks.gradients import check_gradients
from surgeon.evaluation.attacks.pgd import pgd
from surgeon.evaluation.attacks.preconditions import check_needs, check_reach, check_sources
from surgeon.evaluation.diagnostics.checks import (
    ADVICE,
    HALF,
    LEAST,
    STRAY,
    Tried,
    accuracies,
    at_least_as_strong,
    beyond,
    compared,
    equally_useful,
    not_growing,
    of_several,
    rare,
)
from surgeon.evaluation.diagnostics.slopes import finite_differences, zero_gradients
from surgeon.evaluation.diagnostics.traces import Trace, failures, seen
from surgeon.evaluation.engine.admission import admitted
from surgeon.evaluation.engine.scoring import device_of, score
from surgeon.host import in_own_state
from surgeon.models.quiet import held_still
from surgeon.numerals import percent
from surgeon.quantities import too_large
from surgeon.results.assessment import Check, Diagnosis
from surgeon.results.counts import ERROR
from surgeon.results.kinds import KINDS, NORMS, Norm
from surgeon.results.threat import Attack

IMAGES = 128
SCALES = (0.5, 1.0, 2.0, 4.0, 8.0)
UNBOUNDED = 0.5
EOT, DRAWS = 5, 9
"""For a random model: passes that a gradient averages, and draws that vote on a prediction."""
RANDOM = 1e-4
"""Relative difference of the logits of two passes, above which a model is random."""
PASSES = 8
"""A network that asks one of two others at random passes for deterministic once in 128 times."""
_NOISE = 0.05
"""Share of the images that random signs may turn."""


@in_own_state()
def diagnose(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: Norm = "linf",
    sources: Mapping[str, nn.Module] | None = None,
    seed: int = 0,
    batch_size: int | None = None,
) -> Diagnosis:
    """Check on a few images whether attacks on a model can be trusted.

    The checks look for randomness, vanishing or misleading gradients, and attacks that lose against weaker
    ones. They attack the images that the model gets right.

    Args:
        model: Takes [0, 1] pixels (see `Normalized`), float32, and gives logits.
        images: (N, C, H, W) float32 in [0, 1]; 40 to 128 images are enough.
        labels: (N,) class indices.
        eps: Size of the attacks, in [0, 1] pixels.
        norm: "linf", "l2" or "l1".
        sources: Other models by name, whose adversarial images must not be stronger than this model's own.
        seed: Seed of the attacks.
        batch_size: Images in one forward pass; None for all.

    Returns:
        The diagnosis; `reliable` says whether no check failed, `reasons` what failed.

    Raises:
        DataError: Images, labels or the model do not fit, or gradients are missing or not finite.
        ArgumentError: An invalid eps, norm, seed or batch_size; an eps above 1 in Linf, or beyond the
            farthest distance of two images in L2.
        AttackError: In L2, images that are not square, which the attack without gradients needs.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.evaluation import diagnose
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
        >>> images = torch.rand(40, 3, 8, 8)
        >>> labels = model(images).argmax(1)
        >>> diagnosis = diagnose(model, images, labels, eps=8 / 255)  # doctest: +SKIP
        >>> diagnosis.reliable, diagnosis.reasons  # doctest: +SKIP
        (True, ())
    """
    seed, eps = checked_seed(seed), checked_number("eps", eps)
    batch_size = None if batch_size is None else checked_count("batch_size", batch_size)
    if norm not in NORMS:
        raise ArgumentError(f"norm={norm!r} is not known; {', '.join(map(repr, NORMS))} are")
    if norm == "linf" and eps > 1:
        raise ArgumentError(too_large("eps", eps))
    images, labels, classes = admitted(model, images, labels, seed=seed)
    check_reach(norm, eps, images)
    check_needs(black_box(norm, eps), images, classes)
    check_sources(sources or {}, images, labels, classes)
    device = device_of(model)
    subject = Attacked(model, batch_size)
    with held_still(subject, seed):
        scores = score(subject, images, labels)
        right = scores.prediction == labels
        if not bool(right.any()):
            nothing = Check(
                code="nothing-right",
                measured={"clean accuracy": 0.0},
                rule="no image is right as it is",
                failed=True,
                reason=f"the model gets none of the {len(images)} images right: there is nothing to attack",
            )
            return Diagnosis(norm=norm, eps=eps, images=len(images), random=False, checks=(nothing,))
        check_gradients(subject, images[right], labels[right], seed=seed)
        x, y = images[right].to(device), labels[right].to(device)
        random = between_passes(subject, x)
        asked = _Asked(subject, x, y, len(images), norm, eps, seed, scores.classes, random > RANDOM)
        checks = [
            Check(
                code="two-passes",
                measured={"relative difference": random},
                plain=("relative difference",),
                rule=f"> {RANDOM:g}",
                failed=random > RANDOM,
                reason="passes over the same images differ: the model is random, and attacks "
                "without expectation over "
                "its noise, and single draws, overstate it",
            ),
            _enough(len(x)),
            zero_gradients(subject, x, y),
            finite_differences(subject, x, y, seed),
            *_attacked(asked),
            *_transferred(asked, sources or {}),
        ]
    return Diagnosis(norm=norm, eps=eps, images=len(images), random=random > RANDOM, checks=tuple(checks))


def black_box(norm: Norm, eps: float) -> list[Attack]:
    """Return the attack without gradients (Square) that attacks with gradients are compared with.

    Args:
        norm: "linf", "l2" or "l1".
        eps: Size in [0, 1] pixels.

    Returns:
        The attack; empty in L1, where no library has Square.
    """
    if norm not in KINDS["square"].norms:
        return []
    return [Attack(name="square", kind="square", norm=norm, eps=eps, steps=200, loss="margin")]


def between_passes(model: nn.Module, images: Tensor) -> float:
    """Measure how far the logits of forward passes over the same images differ, relative to their norm.

    The first pass is compared with further ones until one differs, at most `PASSES`: a network that asks one of two
    others at random may ask the same one twice.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) on the model's device.

    Returns:
        The largest relative difference that was seen; 0 for a deterministic model.
    """
    largest = 0.0
    with torch.no_grad():
        one = model(images)
        for _ in range(PASSES - 1):
            largest = max(largest, float((one - model(images)).norm() / one.norm().clamp_min(1e-12)))
            if largest > RANDOM:
                break
    return largest


class _Asked:
    """Attacks on the images that the model gets right; accuracies are shares of all images.

    For a random model, gradients are means over EOT passes, no lucky draw ends a search, and predictions are
    by majority.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        count: int,
        norm: Norm,
        eps: float,
        seed: int,
        classes: int,
        random: bool,
    ) -> None:
        self.model, self.x, self.y, self.count = model, x, y, count
        self.norm, self.eps, self.seed, self.classes = norm, eps, seed, classes
        self.draws = DRAWS if random else 1
        self.how = {"eot": EOT, "early_stop": False} if random else {}

    def tried(
        self, name: str, kind: str = "own-pgd", *, on: nn.Module | None = None, **settings: object
    ) -> Tried:
        """An attack of this kind on the model, or on another one in its place."""
        how = self.how if kind in ("own-pgd", "apgd") else {}
        given = {"name": kind, "kind": kind, "norm": self.norm, "eps": self.eps, **how, **settings}
        return self.by(name, Attack.model_validate(given), on)

    def by(self, name: str, attack: Attack, on: nn.Module | None = None) -> Tried:
        """This attack on the model, or on another one in its place."""
        adversarial = run_attack(
            attack, on or self.model, self.x, self.y, seed=self.seed, classes=self.classes
        )
        return Tried(name, self._stands(adversarial))

    def watched(self, name: str, steps: int) -> tuple[Tried, list[Check]]:
        """Our PGD on the cross-entropy, and what its trace tells."""
        trace, drawn = Trace(len(self.x)), torch.Generator().manual_seed(self.seed)
        with held_still(self.model, self.seed):
            attacked = pgd(
                self.model,
                self.x,
                self.y,
                eps=self.eps,
                steps=steps,
                norm=self.norm,
                eot=EOT if self.how else 1,
                early_stop=not self.how,
                generator=drawn,
                watch=trace,
            )
            given = seen(self.model, attacked, self.y, EOT if self.how else 1)
        stands = self._stands(attacked)
        return Tried(name, stands), failures(trace, given, stands)

    def _stands(self, adversarial: Tensor) -> Tensor:
        scores = score(self.model, adversarial, self.y, draws=self.draws, seed=self.seed + 1)
        return scores.prediction == self.y.cpu()


def _enough(count: int) -> Check:
    return Check(
        code="few-images",
        measured={"images": float(count)},
        plain=("images",),
        rule=f"fewer than {LEAST} images are right as they are",
        failed=count < LEAST,
        reason=f"{count} of the images are right as they are, too few to tell anything from: give more",
    )


def _attacked(asked: _Asked) -> list[Check]:
    eps, count, n = asked.eps, asked.count, len(asked.x)
    most = 1.0 if asked.norm == "linf" else float("inf")
    curve = [asked.tried(f"{s:g} ε", steps=20, eps=min(eps * s, most)) for s in SCALES]
    # Steps in L1 move few pixels: where images may become anything, Linf is as good a norm.
    wide = ("l2", UNBOUNDED * asked.x[0].numel() ** 0.5) if asked.norm == "l2" else ("linf", UNBOUNDED)
    unbounded = int(asked.tried("unbounded", steps=50, norm=wide[0], eps=wide[1]).stands.sum())
    longest, traced = asked.watched("50 steps", steps=50)
    budgets = [
        asked.tried("10 steps", steps=10),
        longest,
        asked.tried("3 restarts", steps=10, restarts=3),
    ]
    entropy = asked.tried("APGD-CE", "apgd", steps=20)
    sharp = (
        asked.tried("pgd-margin", steps=20, loss="margin")
        if asked.classes < 3
        else asked.tried("APGD-DLR", "apgd", steps=20, loss="dlr")
    )
    white = _worst("white-box", [*budgets, entropy, sharp])
    blind = [asked.by("Square", attack) for attack in black_box(asked.norm, eps)]
    checks = [
        not_growing("eps-curve", curve, count=count, means="larger perturbations raise accuracy"),
        rare(
            "unbounded",
            {"PGD": unbounded},
            n,
            share=STRAY,
            what="stand where they may become anything",
            means="attacks fail even there",
        ),
        _budget(budgets, count),
        *traced,
        *(
            at_least_as_strong(
                "black-box",
                white,
                square,
                count=count,
                means="an attack without gradients does better than those with them",
            )
            for square in blind
        ),
        equally_useful("losses", entropy, sharp, count=count),
    ]
    if asked.norm == "linf" and eps > 0:
        checks.append(_random_sign(asked.tried("random signs", "random-sign"), white, count))
    return checks


def _worst(name: str, tried: list[Tried]) -> Tried:
    """The images that withstand all of these attacks."""
    return Tried(name, torch.stack([t.stands for t in tried]).all(0))


def _budget(budgets: list[Tried], count: int) -> Check:
    short, more = budgets[0], _worst("more", budgets[1:])
    comparison = compared(short.stands, more.stands, STRAY)
    advice = f"a larger budget still turns {comparison.only_other} of {comparison.n} images more"
    return Check(
        code="budget",
        measured=accuracies(budgets, count),
        p=comparison.p,
        rule="never; advises",
        failed=False,
        advice=advice if comparison.p <= ADVICE else "",
    )


def _random_sign(noise: Tried, white: Tried, count: int) -> Check:
    """Fails if noise is stronger than gradients, or turns images and gradients less than half of the rest."""
    n, left = len(noise.stands), int(noise.stands.sum())
    stronger = compared(white.stands, noise.stands)
    useless = max(beyond(n - left, n, _NOISE), beyond(int((noise.stands & white.stands).sum()), left, HALF))
    p = of_several(stronger.p, useless)
    return Check(
        code="random-sign",
        measured=accuracies((noise, white), count),
        p=p,
        rule=f"noise turns more than {percent(_NOISE)} of the images and attacks less than half of "
        "the others, or noise turns what attacks leave",
        failed=p <= ERROR,
        reason=f"random signs turn {n - left} of {n} images, attacks that follow gradients "
        f"{n - int(white.stands.sum())}: "
        "they are hardly better than chance",
    )


def _transferred(asked: _Asked, sources: Mapping[str, nn.Module]) -> list[Check]:
    checks = []
    for name, source in sources.items():
        with held_still(source):
            there = asked.tried("transfer", steps=50, on=source, early_stop=False)
        white = _worst("white-box", [asked.tried("PGD", steps=50), asked.tried("APGD-CE", "apgd", steps=20)])
        checks.append(
            at_least_as_strong(
                f"transfer from {name}",
                white,
                there,
                count=asked.count,
                means="images made for another model are stronger than those made for this one",
            )
        )
    return checks
