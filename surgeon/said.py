"""Settings that are said twice: the last one would win, and nobody would know. No torch here."""

from __future__ import annotations

from typing import Any

from surgeon.errors import RecipeError
from surgeon.strict import shown


class Said:
    """What was said so far, by place.

    Examples:
        >>> said = Said()
        >>> said.add(("training", "lr"), 0.1, "training.lr=0.1")
        >>> said.add(("training", "lr"), 0.1, "training.lr=1e-1")
    """

    def __init__(self) -> None:
        self._said: dict[tuple[Any, ...], tuple[Any, str, bool]] = {}

    def add(self, place: tuple[Any, ...], value: object, text: str, *, single: bool = False) -> None:
        """Note a setting.

        Args:
            place: What is set, from the outside to the inside.
            value: Its value.
            text: The setting as the user wrote it.
            single: It is of one of several operations of a name, and may follow one that is of all of them.

        Raises:
            RecipeError: The place was given another value before, or one below it would be lost.
        """
        for known, (before, said, alone) in self._said.items():
            short = min(len(known), len(place))
            if known[:short] != place[:short] or (single and not alone):
                continue
            if len(known) < len(place) and isinstance(before, dict) and place[short] not in before:
                continue
            if known != place or type(before) is not type(value) or before != value:
                raise RecipeError(
                    f"{shown(said)} and {shown(text)} say two things of one setting: leave one of them out"
                )
        self._said[place] = (value, text, single)
