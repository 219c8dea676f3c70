"""The engine: attacks in fixed blocks, each result scored again by a forward pass of its own."""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from surgeon.arguments import checked_count, checked_seed
from surgeon.errors import ArgumentError
from surgeon.evaluation.attacks.attacked import Attacked
from surgeon.evaluation.attacks.dispatch import run_attack
from surgeon.evaluation.attacks.gradients import check_gradients
from surgeon.evaluation.attacks.preconditions import check_needs, check_said, check_sources
from surgeon.evaluation.engine.admission import admitted, checked_attacks, checked_examples
from surgeon.evaluation.engine.fingerprints import image_hashes, joined, said, weights_hash
from surgeon.evaluation.engine.scoring import (
    check_adversarial,
    device_of,
    score,
    tightened,
)
from surgeon.evaluation.engine.store import Store
from surgeon.host import in_own_state
from surgeon.models.quiet import held_still
from surgeon.ownership import owning
from surgeon.processes import everyone, first, gathered, rank, world
from surgeon.results.threat import Attack
from surgeon.results.verdict import Outcome, Verdict

BLOCK = 64
"""Images attacked together. Seeds go by block, so that nothing else about batches changes a verdict."""


@in_own_state()
@owning("store")
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
    """A verdict for every image as it is, and for every attack on every image that it is tried on.

    model: takes pixels in [0, 1] (see Normalized), in float32. images: (N, C, H, W) float32 in [0, 1]. labels: (N,).
    attacks: in order; those that cascade see only images that stood the earlier ones of their threat. Images that are
    misclassified as they are are not attacked. sources: models that `attack.source` names. draws: of a random model,
    that each image is scored on. batch_size: images that go through the model at once, by default a block's. store: a
    folder that keeps each finished block; the same call then goes on after a kill. examples: names of the images, by
    default 0…N−1. advance: called with (done, total) image-attacks.

    Blocks of 64 images are dealt to the processes that accelerate started, if it did; every process gets all verdicts.

    Raises DataError for images, labels or a model that do not fit, one without gradients to follow or whose gradient is not
    finite, AttackError where an attack needs another model or larger images, ArgumentError for arguments that make no sense, ArtifactError for a store that belongs to another
    evaluation or another model, and VerificationError for an adversarial image that is not finite, leaves [0, 1] or lies
    outside the ball: it is never counted as a success.
    """
    seed, draws, attacks = checked_seed(seed), checked_count("draws", draws), checked_attacks(attacks)
    batch_size = None if batch_size is None else checked_count("batch_size", batch_size)
    images, labels, classes = admitted(model, images, labels, seed=seed)
    names = checked_examples(examples, len(images))
    if store is not None and not isinstance(store, Store):
        raise ArgumentError(f"store is a {type(store).__name__}; give surgeon.evaluation.Store(folder)")
    victims: dict[str | None, nn.Module] = {None: model}
    victims.update({str(name): source for name, source in (sources or {}).items()})
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
            "attacks": [a.model_dump(mode="json") for a in attacks], "block": BLOCK, "draws": draws, "seed": seed,
            "weights": weights_hash(model), "images": joined([*hashes, *map(str, labels.tolist())]),
            "sources": {n: [weights_hash(m), said(m, images)] for n, m in (sources or {}).items()}, "examples": joined(list(map(str, names))),
        }  # fmt: skip
        if first():
            store.claim(manifest)
        everyone()
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
            for number, found in work.block(k, blocks[k]):
                rows.append((number, k, found))
                done += 1
                if advance is not None:
                    advance(done * world(), len(blocks) * len(attacks))
    every = sorted(gathered(rows), key=lambda r: r[:2])
    return Outcome((*clean, *(v for _, _, found in every for v in found)), tuple(attacks), draws)


class _Work:
    """What all blocks of one evaluation share."""

    def __init__(
        self, victims: Mapping[str | None, nn.Module], images: Tensor, labels: Tensor, attacks: tuple[Attack, ...],
        hashes: list[str], names: list[int], draws: int, seed: int, batch_size: int | None, store: Store | None,
    ) -> None:  # fmt: skip
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
        """A verdict for each image as it is: the first process's, where there is a store."""
        known = self.store.clean() if self.store else None
        everyone()  # all looked before the first writes
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
            self.classes = score(self.model, self.images[:1], self.labels[:1]).classes
        self.verdicts = known or []
        return self.verdicts

    def _clean(self) -> list[Verdict]:
        said = score(
            self.model, self.images, self.labels, draws=self.draws, seed=self.seed, batch_size=self.batch_size
        )
        return [
            Verdict(
                example=name, image=h, label=y, clean=p, margin=m, attack="none", success=_fallen(p, y, v, self.draws),
                prediction=p, votes=v,
            )
            for name, h, y, p, m, v in zip(
                self.names, self.hashes, self.labels.tolist(), said.prediction.tolist(), said.margin.tolist(),
                said.votes.tolist(), strict=True,
            )
        ]  # fmt: skip

    def block(self, k: int, chosen: list[int]) -> Any:
        """(number of the attack, its verdicts) on a block, in order."""
        fallen: dict[tuple[Any, ...], set[int]] = {}
        for number, attack in enumerate(self.attacks):
            before = fallen.setdefault(attack.threat, set())
            alive = [i for i in chosen if not (attack.cascade and self.names[i] in before)]
            rows = self.store.block(number, attack, k) if self.store else None
            if rows is None:
                rows, found = self._attack(attack, alive, k) if alive else ([], None)
                if self.store:
                    self.store.write(number, attack, k, rows, found)
            before |= {v.example for v in rows if v.success}
            yield number, rows

    def _attack(self, attack: Attack, alive: list[int], k: int) -> tuple[list[Verdict], Tensor]:
        device = device_of(self.model)
        x, y = self.images[alive].to(device), self.labels[alive].to(device)
        victim = self.victims[attack.source]
        stream = zlib.crc32(
            f"{attack.seed}/{attack.name}/{attack.source}/{attack.norm}/{attack.eps}/{k}".encode()
        )
        began, asked = time.perf_counter(), victim.queries
        found = run_attack(attack, victim, x, y, seed=stream, classes=self.classes)
        seconds, queries = (time.perf_counter() - began) / len(alive), (victim.queries - asked) / len(alive)
        found = tightened(found, x, attack)
        linf, l2 = check_adversarial(found, x, attack)
        said = score(self.model, found, y, draws=self.draws, seed=stream + 1, batch_size=self.batch_size)
        shared = dict(
            attack=attack.name, group=attack.group, source=attack.source, norm=attack.norm, eps=attack.eps, seed=attack.seed,
            block=k, queries=queries, seconds=seconds,
        )  # fmt: skip
        rows = []
        for n, i in enumerate(alive):
            as_it_is, p = self.verdicts[i], int(said.prediction[n])
            rows.append(
                Verdict(
                    example=self.names[i], image=self.hashes[i], label=int(y[n]), clean=as_it_is.clean, margin=as_it_is.margin,
                    success=_fallen(p, int(y[n]), float(said.votes[n]), self.draws), prediction=p, votes=float(said.votes[n]), linf=float(linf[n]), l2=float(l2[n]),
                    **shared,
                )
            )  # fmt: skip
        return rows, found


def _fallen(prediction: int, label: int, votes: float, draws: int) -> bool:
    """Whether an image counts as misclassified: of a random model, unless most of its draws are right."""
    return votes <= 0.5 if draws > 1 else prediction != label
