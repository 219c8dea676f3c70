"""Tables for a notebook. Whatever stands in them is text. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

MOST = 200
"""Rows that are shown."""


def table(rows: Iterable[Sequence[object]], *, head: Sequence[str] = (), caption: str = "") -> str:
    """A table: rows of cells, a line above the columns, and a caption; where there are too many rows, how many more there are."""
    every = list(rows)
    lines = [f"<caption>{escape(caption)}</caption>"] if caption else []
    if head:
        lines.append(f"<thead>{_row('th', head)}</thead>")
    body = [_row("td", row) for row in every[:MOST]]
    if len(every) > MOST:
        body.append(_row("td", [f"… and {len(every) - MOST} more"]))
    return f"<table>{''.join(lines)}<tbody>{''.join(body)}</tbody></table>"


def paragraphs(lines: Iterable[str]) -> str:
    """Each line as a paragraph."""
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _row(cell: str, values: Sequence[object]) -> str:
    return "<tr>" + "".join(f"<{cell}>{escape(str(v))}</{cell}>" for v in values) + "</tr>"
