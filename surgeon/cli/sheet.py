"""A table that keeps every word and number whole at any width: columns that do not fit stand below their row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

GAP, INDENT, PROSE = 2, 4, 24
"""Spaces between columns; before what stands below a row; the least width of a column of prose."""


@dataclass(frozen=True)
class Column:
    """prose: wraps between words. spare: the first to go below where space is short."""

    title: str
    right: bool = False
    prose: bool = False
    spare: bool = False

    @property
    def justify(self) -> Literal["left", "right"]:
        """On which side its cells stand."""
        return "right" if self.right else "left"


class Sheet:
    """Rows under columns; columns without any cell are left out."""

    def __init__(self, *columns: Column | str, header: bool = True) -> None:
        self.columns = [c if isinstance(c, Column) else Column(c) for c in columns]
        self.header = header
        self.rows: list[list[Text]] = []

    def add(self, *cells: str | Text) -> None:
        """A row; text is taken as it is, without rich's markup."""
        given = [c if isinstance(c, Text) else Text(c) for c in cells]
        self.rows.append([*given, *(Text() for _ in self.columns[len(given) :])])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        full = [k for k, _ in enumerate(self.columns) if any(row[k].plain for row in self.rows)]
        shown = self._fitting(full, options.max_width)
        below = [k for k in full if k not in shown]
        widths = {k: self._width(k) for k in shown}
        prose = [k for k in shown if self.columns[k].prose]
        left = (
            options.max_width - sum(w for k, w in widths.items() if k not in prose) - GAP * (len(shown) - 1)
        )
        for n, k in enumerate(prose):
            widths[k] = min(widths[k], max(PROSE, left // (len(prose) - n)))
            left -= widths[k]
        if not below:
            yield self._table(shown, widths, self.rows, self.header)
            return
        if self.header:
            yield self._table(shown, widths, [], True)
        for row in self.rows:
            yield self._table(shown, widths, [row], False)
            items = [_told(self.columns[k].title, row[k]) for k in below if row[k].plain]
            for line in _filled(items, options.max_width - INDENT):
                yield Padding(line, (0, 0, 0, INDENT))

    def _width(self, k: int) -> int:
        title = [self.columns[k].title] if self.header else []
        return max(cell_len(t) for t in (*title, *(row[k].plain for row in self.rows)))

    def _fitting(self, full: Sequence[int], width: int) -> list[int]:
        """The columns that fit beside one another: all, or without spare ones and then the last ones."""
        shown = list(full)
        spare = [k for k in reversed(full) if self.columns[k].spare]
        order = [*spare, *(k for k in reversed(full) if k not in spare)]
        for k in order:
            if self._needed(shown) <= width or len(shown) == 1:
                break
            shown.remove(k)
        return shown

    def _needed(self, shown: Iterable[int]) -> int:
        widths = [min(self._width(k), PROSE) if self.columns[k].prose else self._width(k) for k in shown]
        return sum(widths) + GAP * (len(widths) - 1)

    def _table(
        self, shown: Sequence[int], widths: dict[int, int], rows: Iterable[list[Text]], header: bool
    ) -> Table:
        table = Table(
            box=None, pad_edge=False, show_header=header, header_style="bold", padding=(0, GAP, 0, 0)
        )
        for k in shown:
            one = self.columns[k]
            table.add_column(
                Text(one.title),
                justify=one.justify,
                width=widths[k],
                no_wrap=not one.prose and len(shown) > 1,
                overflow="fold",
            )
        for row in rows:
            table.add_row(*(row[k] for k in shown))
        return table


def _told(title: str, cell: Text) -> Text:
    return Text.assemble((f"{title} " if title else "", "dim"), cell)


def _filled(items: Iterable[Text], width: int) -> list[Text]:
    """Lines of items that stay whole where they fit into one."""
    lines: list[Text] = []
    for item in items:
        if lines and lines[-1].cell_len + 2 + item.cell_len <= width:
            lines[-1] = Text.assemble(lines[-1], "; ", item)
        else:
            lines.append(item)
    return lines
