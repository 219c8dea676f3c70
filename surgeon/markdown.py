"""Put text from outside into a Markdown page so that it stays text."""

from __future__ import annotations

import re

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKS = re.compile(r"[\\`*_\[\]|~$]")
_BEGINNING = re.compile(r"^(?:([#+\-=:])|(\d{1,9})([.)]))")
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)", re.IGNORECASE)
_BREAK = "\N{ZERO WIDTH SPACE}"
"""Put into addresses: many programs turn any address into a link, even an escaped one."""


def plain(text: object, longest: int = 1000) -> str:
    """One line of printable characters, shortened if very long.

    Args:
        text: the value.
        longest: the most characters.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= longest else line[:longest] + "…"


def text(value: object) -> str:
    r"""Escape a value for a paragraph, a list item or a table cell: no markup, HTML or link can result.

    Args:
        value: the value.

    Examples:
        >>> print(text("*bold* <b>"))
        \*bold\* &lt;b&gt;
    """
    line = "".join(_ENTITIES.get(c, c) for c in plain(value))
    line = _MARKS.sub(lambda match: "\\" + match.group(), line)
    line = _BEGINNING.sub(lambda m: f"\\{m[1]}" if m[1] else f"{m[2]}\\{m[3]}", line)
    return _ADDRESS.sub(_BREAK, line)


def code(value: object) -> str:
    """Write a value as code inside a line or a table cell.

    Backticks and bars in it are replaced by characters that look alike.

    Args:
        value: the value.

    Examples:
        >>> code("resnet18")
        '`resnet18`'
    """
    line = plain(value).replace("`", "\N{MODIFIER LETTER GRAVE ACCENT}").replace("|", "\N{DIVIDES}")
    return f"`{line}`" if line else ""
