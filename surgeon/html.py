"""Tables for a notebook. All their contents are escaped. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

MOST = 200
"""The most rows that are shown."""


def table(rows: Iterable[Sequence[object]], *, head: Sequence[str] = (), caption: str = "") -> str:
    """Make an HTML table of up to `MOST` rows; a last row states how many more there are.

    Args:
        rows: the rows' cells.
        head: the columns' names.
        caption: the table's caption.

    Examples:
        >>> table([("a", "<b>")])
        '<table><tbody><tr><td>a</td><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    every = list(rows)
    lines = [f"<caption>{escape(caption)}</caption>"] if caption else []
    if head:
        lines.append(f"<thead>{_row('th', head)}</thead>")
    body = [_row("td", row) for row in every[:MOST]]
    if len(every) > MOST:
        body.append(_row("td", [f"… and {len(every) - MOST} more"]))
    return f"<table>{''.join(lines)}<tbody>{''.join(body)}</tbody></table>"


def paragraphs(lines: Iterable[str]) -> str:
    """Make an HTML paragraph of each line.

    Args:
        lines: the lines.
    """
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _row(cell: str, values: Sequence[object]) -> str:
    return "<tr>" + "".join(f"<{cell}>{escape(str(v))}</{cell}>" for v in values) + "</tr>"
