"""Whether a model is right, image by image, as a caller gives it: a list of booleans. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from surgeon.errors import ArgumentError
from surgeon.settings_faults import shown


def checked_rights(name: str, values: object) -> list[bool]:
    """Validate what says of each image whether a model is right.

    Args:
        name: the argument's name, for the message.
        values: booleans of Python or numpy in any iterable, a tensor or array of bool with one axis.

    Returns:
        The values as a list.

    Raises:
        ArgumentError: they are no booleans (predictions, say), or have several axes.

    Examples:
        >>> from surgeon.results.rights import checked_rights
        >>> checked_rights("first", (n > 1 for n in range(4)))
        [False, False, True, True]
    """
    given: Any = values
    axes = len(getattr(given, "shape", (0,)))
    if axes != 1:
        raise ArgumentError(f"{name} has {axes} axes; give one boolean for each image")
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise ArgumentError(f"{name} is a {type(given).__name__}; {_WANTED}")
    listed = given.tolist() if hasattr(given, "tolist") else list(given)
    plain = [v.item() if hasattr(v, "item") and not getattr(v, "shape", ()) else v for v in listed]
    odd = next((k for k, v in enumerate(plain) if not isinstance(v, bool)), None)
    if odd is not None:
        raise ArgumentError(f"{name}[{odd}]={shown(plain[odd])} is no boolean; {_WANTED}")
    return plain


_WANTED = "give for each image whether the model is right, such as predictions == labels"
