"""The engine: attacks run in fixed blocks, and each result is scored again by a forward pass of its own."""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.arguments import checked_by_name, checked_count, checked_seed
from surgeon.errors import ArgumentError
from surgeon.evaluation.attacks.attacked import Attacked
from surgeon.evaluation.attacks.dispatch import run_attack
from surgeon.evaluation.attacks.gradients import check_gradients
from surgeon.evaluation.attacks.minimum_norm import shortened
from surgeon.evaluation.attacks.preconditions import check_needs, check_said, check_sources
from surgeon.evaluation.engine.admission import admitted, checked_attacks, checked_examples
from surgeon.evaluation.engine.fingerprints import image_hashes, joined, said, weights_hash
from surgeon.evaluation.engine.on_disk import OnDisk
from surgeon.evaluation.engine.scoring import (
    check_adversarial,
    device_of,
    score,
    tightened,
)
from surgeon.evaluation.engine.store import Store, going_on
from surgeon.host import in_own_state
from surgeon.models.quiet import held_still
from surgeon.ownership import owning
from surgeon.processes import everyone, first, gathered, rank, world
from surgeon.results.threat import Attack
from surgeon.results.verdict import Outcome, Verdict

BLOCK = 64
"""Images attacked together. Each block has its own seed, so that processes change no verdict. Neither does the batch
size, unless the model is random: each forward pass then takes its draws, and other passes get others."""


@in_own_state()
@owning("store")
@going_on()
def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attacks: Sequence[Attack],
    *,
    sources: Mapping[str, nn.Module] | None = None,
    draws: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
    store: Store | None = None,
    examples: Sequence[int] | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Attack a model and score every attacked image with a separate forward pass.

    Images that the model misclassifies without an attack are not attacked. Attacks with `cascade` see only
    images that withstood the earlier attacks of the same threat. Blocks of 64 images are distributed over the
    processes that accelerate started, if any; every process returns all verdicts. With a store they stay in its
    folder, a file a block, and the outcome reads them from there: what a process holds does not grow with images times
    attacks, so keep the folder for as long as the outcome is used.

    Args:
        model: Takes [0, 1] pixels (see `Normalized`), float32, and gives logits.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) class indices.
        attacks: Attacks in the order in which they run.
        sources: Models by the names that `attack.source` refers to.
        draws: Predictions per image; more than 1 for a model that is random, which then needs a majority.
        seed: Seed of all random choices.
        batch_size: Images in one forward pass; by default one block. Of a random model it decides the draws.
        store: Folder that keeps every finished block, so that the same call continues after an interruption.
        examples: Index of each image in its data set; by default 0 to N − 1.
        advance: Called with (done, total), counted in attacks on blocks.

    Returns:
        One verdict for each clean image, and one for each attack on each image that it was tried on.

    Raises:
        DataError: Images, labels or the model do not fit, or gradients are missing or not finite.
        AttackError: An attack needs another model or larger images.
        ArgumentError: Another argument is invalid, or a source is missing.
        ArtifactError: `store` belongs to another evaluation or another model.
        VerificationError: An adversarial image is not finite, leaves [0, 1] or lies outside the ball. Such
            images are never counted as successes.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.evaluation import Attack, evaluate, summarize
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 3))
        >>> images, labels = torch.rand(12, 3, 4, 4), torch.arange(12) % 3
        >>> pgd = Attack(name="pgd", kind="own-pgd", eps=8 / 255, steps=5)
        >>> outcome = evaluate(model, images, labels, [pgd])
        >>> summary = summarize(outcome)
        >>> summary.worst.k <= summary.clean.k
        True
    """
    seed, draws, attacks = checked_seed(seed), checked_count("draws", draws), checked_attacks(attacks)
    batch_size = None if batch_size is None else checked_count("batch_size", batch_size)
    images, labels, classes = admitted(model, images, labels, seed=seed)
    names = checked_examples(examples, len(images))
    if store is not None and not isinstance(store, Store):
        raise ArgumentError(f"store is a {type(store).__name__}; give surgeon.evaluation.Store(folder)")
    checked_by_name("sources", sources or {})
    victims: dict[str | None, nn.Module] = {None: model}
    victims.update(sources or {})
    unknown = {a.source for a in attacks} - set(victims)
    if unknown:
        raise ArgumentError(
            f"attacks come from {sorted(map(str, unknown))}, and sources has {sorted(map(str, victims))}"
        )
    check_needs(attacks, images, classes)
    check_sources(sources or {}, images, labels, classes)
    hashes = image_hashes(images)
    for name in {a.source for a in attacks if a.needs.gradients}:
        what = "the model" if name is None else f"source {name}"
        check_gradients(Attacked(victims[name], batch_size), images, labels, what=what, seed=seed)
    if store is not None:
        manifest = {
            "attacks": [a.model_dump(mode="json") for a in attacks],
            "block": BLOCK,
            "draws": draws,
            "seed": seed,
            "weights": weights_hash(model),
            "images": joined([*hashes, *map(str, labels.tolist())]),
            "sources": {n: [weights_hash(m), said(m, images)] for n, m in (sources or {}).items()},
            "examples": joined(list(map(str, names))),
        }
        if first():
            store.claim(manifest)
        everyone()
        # After all have met: the first process has written the manifest that the others compare.
        store.claim(manifest, write=False)
    with contextlib.ExitStack() as stack:
        for one in victims.values():
            stack.enter_context(held_still(one, seed))
        work = _Work(victims, images, labels, tuple(attacks), hashes, names, draws, seed, batch_size, store)
        clean = work.clean()
        right = [i for i, v in enumerate(clean) if not v.success]
        blocks = [right[k : k + BLOCK] for k in range(0, len(right), BLOCK)]
        rows: list[tuple[int, int, list[Verdict]]] = []
        done = 0
        if advance is not None:
            advance(0, len(blocks) * len(attacks))
        for k in range(rank(), len(blocks), world()):
            for number, verdicts in work.block(k, blocks[k]):
                if store is None:
                    rows.append((number, k, verdicts))
                done += 1
                if advance is not None:
                    advance(done * world(), len(blocks) * len(attacks))
    if store is not None:
        everyone()  # the blocks are in its folder: no process needs to hold, or to send, those of others
        return Outcome(OnDisk(store, tuple(clean), tuple(attacks), len(blocks)), tuple(attacks), draws)
    # In the order of one process, however many there were.
    every = sorted(gathered(rows), key=lambda r: r[:2])
    return Outcome((*clean, *(v for _, _, verdicts in every for v in verdicts)), tuple(attacks), draws)


class _Work:
    """State shared by all blocks of one evaluation."""

    def __init__(
        self,
        victims: Mapping[str | None, nn.Module],
        images: Tensor,
        labels: Tensor,
        attacks: tuple[Attack, ...],
        hashes: list[str],
        names: list[int],
        draws: int,
        seed: int,
        batch_size: int | None,
        store: Store | None,
    ) -> None:
        self.victims = {name: Attacked(m, batch_size) for name, m in victims.items()}
        self.images, self.labels, self.attacks, self.hashes, self.names = (
            images,
            labels,
            attacks,
            hashes,
            names,
        )
        self.draws, self.seed, self.store = draws, seed, store
        self.model = self.victims[None]
        self.batch_size = batch_size or BLOCK
        self.verdicts: list[Verdict] = []
        self.classes = 0

    def clean(self) -> list[Verdict]:
        """A verdict for each clean image; with a store, the first process's."""
        known = self.store.clean() if self.store else None
        # The first process must not write before all have looked: a slower one would take the other branch.
        everyone()
        if known is not None and self.store:
            check_said(
                self.model,
                self.images,
                self.labels,
                known,
                draws=self.draws,
                seed=self.seed,
                where=self.store.folder,
            )
        elif self.store is None or first():
            known = self._clean()
            if self.store:
                self.store.write_clean(known)
        everyone()
        if known is None and self.store:
            known = self.store.clean()
        if len(self.images):
            # Verdicts that were read from the folder do not say how many classes there are.
            self.classes = score(self.model, self.images[:1], self.labels[:1]).classes
        self.verdicts = known or []
        return self.verdicts

    def _clean(self) -> list[Verdict]:
        scores = score(
            self.model, self.images, self.labels, draws=self.draws, seed=self.seed, batch_size=self.batch_size
        )
        return [
            Verdict(
                example=name,
                image=h,
                label=y,
                clean=p,
                margin=m,
                attack="none",
                success=_fallen(p, y, v, self.draws),
                prediction=p,
                votes=v,
            )
            for name, h, y, p, m, v in zip(
                self.names,
                self.hashes,
                self.labels.tolist(),
                scores.prediction.tolist(),
                scores.margin.tolist(),
                scores.votes.tolist(),
                strict=True,
            )
        ]

    def block(self, k: int, chosen: list[int]) -> Iterator[tuple[int, list[Verdict]]]:
        """Yield (number of the attack, its verdicts) on block `k`, in order."""
        fallen: dict[tuple[Any, ...], set[int]] = {}
        for number, attack in enumerate(self.attacks):
            before = fallen.setdefault(attack.threat, set())
            alive = [i for i in chosen if not (attack.cascade and self.names[i] in before)]
            rows = self.store.block(number, attack, k) if self.store else None
            if rows is None:
                rows, adversarial = self._attack(attack, alive, k) if alive else ([], None)
                if self.store:
                    self.store.write(number, attack, k, rows, adversarial)
            elif self.store:
                due = {self.names[i] for i in alive}
                self.store.check_block(number, attack, k, rows, [self.verdicts[i] for i in chosen], due)
            before |= {v.example for v in rows if v.success}
            yield number, rows

    def _attack(self, attack: Attack, alive: list[int], k: int) -> tuple[list[Verdict], Tensor]:
        device = device_of(self.model)
        x, y = self.images[alive].to(device), self.labels[alive].to(device)
        victim = self.victims[attack.source]
        # The seed names attack, size and block, not the place in the list: adding an attack changes no other.
        stream = zlib.crc32(
            f"{attack.seed}/{attack.name}/{attack.source}/{attack.norm}/{attack.eps}/{k}".encode()
        )
        began, queries_before = time.perf_counter(), victim.queries
        adversarial = run_attack(attack, victim, x, y, seed=stream, classes=self.classes)
        seconds, queries = (
            (time.perf_counter() - began) / len(alive),
            (victim.queries - queries_before) / len(alive),
        )
        adversarial = tightened(adversarial, x, attack)
        far = check_adversarial(adversarial, x, attack)
        # Scored again here, without the attack's own count of successes: an error there would go unnoticed.
        scores = score(
            self.model, adversarial, y, draws=self.draws, seed=stream + 1, batch_size=self.batch_size
        )
        loose = self._loose(adversarial, x, y, stream) if attack.eps is None else torch.zeros(len(alive))
        shared = dict(
            attack=attack.name,
            group=attack.group,
            source=attack.source,
            norm=attack.norm,
            eps=attack.eps,
            seed=attack.seed,
            block=k,
            queries=queries,
            seconds=seconds,
        )
        rows = []
        for n, i in enumerate(alive):
            clean, p = self.verdicts[i], int(scores.prediction[n])
            rows.append(
                Verdict(
                    example=self.names[i],
                    image=self.hashes[i],
                    label=int(y[n]),
                    clean=clean.clean,
                    margin=clean.margin,
                    success=_fallen(p, int(y[n]), float(scores.votes[n]), self.draws),
                    prediction=p,
                    votes=float(scores.votes[n]),
                    linf=float(far.linf[n]),
                    l2=float(far.l2[n]),
                    l1=float(far.l1[n]),
                    loose=bool(loose[n]),
                    **shared,
                )
            )
        return rows, adversarial

    def _loose(self, adversarial: Tensor, x: Tensor, y: Tensor, stream: int) -> Tensor:
        """(n,) whether a perturbation turns the image when it is shortened, too."""
        scores = score(
            self.model,
            shortened(adversarial, x),
            y,
            draws=self.draws,
            seed=stream + 2,
            batch_size=self.batch_size,
        )
        return scores.votes <= 0.5 if self.draws > 1 else scores.prediction != y.cpu()


def _fallen(prediction: int, label: int, votes: float, draws: int) -> bool:
    """Whether an image counts as misclassified; for a random model, unless most draws are right."""
    return votes <= 0.5 if draws > 1 else prediction != label
