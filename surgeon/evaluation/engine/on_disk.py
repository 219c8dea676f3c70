"""Verdicts that stay in the folder of their evaluation, and are read a block at a time whenever they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import TYPE_CHECKING, NoReturn

from surgeon.errors import ArtifactError
from surgeon.results.threat import Attack
from surgeon.results.verdict import Unheld, Verdict, key_of

if TYPE_CHECKING:
    from surgeon.evaluation.engine.store import Store


class OnDisk(Unheld):
    """The verdicts in a store's blocks, in the order of an outcome: clean images, then attack by attack.

    What is held grows with the images alone: the verdicts on the clean ones, and one block at a time.

    Args:
        store: The store.
        clean: The verdicts on the clean images.
        attacks: The attacks in their order.
        blocks: Number of blocks of each attack.
        absent: (number of the attack, block) that are not written yet.

    Raises:
        ArtifactError: When read: a block is no longer there, or cannot be read.
    """

    def __init__(
        self,
        store: Store,
        clean: tuple[Verdict, ...],
        attacks: tuple[Attack, ...],
        blocks: int,
        absent: Set[tuple[int, int]] = frozenset(),
    ) -> None:
        super().__init__(clean)
        self._store, self._attacks, self._blocks, self._absent = store, attacks, blocks, absent
        self._count: int | None = None

    def __len__(self) -> int:
        if self._count is None:
            whole = len(self.clean)
            for number, block in self._places():
                number_kept = self._store.count(number, self._attacks[number], block)
                whole += self._gone() if number_kept is None else number_kept
            self._count = whole
        return self._count

    def attacked(self, attack: Attack | None = None) -> Iterator[Verdict]:
        """Read the verdicts on attacked images, block by block.

        Args:
            attack: The attack; None for all in their order.
        """
        for number, block in self._places(attack):
            kept = self._store.block(number, self._attacks[number], block)
            yield from self._gone() if kept is None else kept

    def _places(self, attack: Attack | None = None) -> Iterator[tuple[int, int]]:
        for number, one in enumerate(self._attacks):
            if attack is None or key_of(one) == key_of(attack):
                for block in range(self._blocks):
                    if (number, block) not in self._absent:
                        yield number, block

    def _gone(self) -> NoReturn:
        raise ArtifactError(
            f"{self._store.folder} lacks verdicts that were written to it; the outcome of an evaluation with a store "
            "reads them from there: keep the folder for as long as the outcome is used"
        )
