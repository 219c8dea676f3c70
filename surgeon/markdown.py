"""Text from outside in a page of Markdown: it stays text, whatever stands in it."""

from __future__ import annotations

import re

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKS = re.compile(r"[\\`*_\[\]|~$]")
_BEGINNING = re.compile(r"^(?:([#+\-=:])|(\d{1,9})([.)]))")
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)", re.IGNORECASE)
_BREAK = "\N{ZERO WIDTH SPACE}"
"""Stands in addresses: programs make a link of one wherever they see it, and of an escaped one too."""


def plain(text: object, longest: int = 1000) -> str:
    """One line of printable characters, cut where it is very long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= longest else line[:longest] + "…"


def text(value: object) -> str:
    """A value as text in a paragraph, in a list's item or in a table's cell: no markup, no HTML, no link comes of it."""
    line = "".join(_ENTITIES.get(c, c) for c in plain(value))
    line = _MARKS.sub(lambda found: "\\" + found.group(), line)
    line = _BEGINNING.sub(lambda m: f"\\{m[1]}" if m[1] else f"{m[2]}\\{m[3]}", line)
    return _ADDRESS.sub(_BREAK, line)


def code(value: object) -> str:
    """A value as code inside a line or a table's cell; backticks and bars in it are told as others that look alike."""
    line = plain(value).replace("`", "\N{MODIFIER LETTER GRAVE ACCENT}").replace("|", "\N{DIVIDES}")
    return f"`{line}`" if line else ""
