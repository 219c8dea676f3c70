"""Charts as inline SVG: drawn by matplotlib, in the page's colours, with the numbers at each point."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from surgeon.numerals import bounds, percent
from surgeon.results.statistics import Share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚"}
"""matplotlib's name of a marker → its character in a legend."""
INK, FAINT = "#010203", "#040506"
LINES = tuple(f"#0a0b0{k}" for k in range(len(MARKERS)))
"""Placeholder colours, replaced by those of the page's style: --ink, --faint, --line-0 and so on."""
DENSE = 12
"""A line with more points shows its intervals as a band instead of bars."""
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


@dataclass(frozen=True)
class Series:
    """One line of a chart: points (level, share), levels in the axis' unit."""

    name: str
    points: tuple[tuple[float, Share], ...]
    line: int = 0
    """Number of the line, which determines colour and marker; a run keeps its number on the whole page."""

    def told(self, level: float, share: Share) -> str:
        """Describe a point in words, with its interval.

        Args:
            level: The point's level.
            share: Its accuracy.

        Returns:
            The text.
        """
        return (
            f"{self.name}, at {level:g}: {percent(share.value)} "
            f"[{bounds(share)}], {share.k} of {share.n} images"
        )


def mark(k: int) -> str:
    """Return the mark of a line in a legend; after six lines, lines are dashed.

    Args:
        k: Number of the line.

    Returns:
        The characters.
    """
    return list(MARKERS.values())[k % len(MARKERS)] + ("┄" if k >= len(MARKERS) else "")


def line_chart(
    name: str, series: Sequence[Series], *, title: str, x_label: str, ticks: Sequence[float] | None = None
) -> str:
    """Draw lines with 95 % intervals as SVG, accuracy in percent.

    Args:
        name: Prefix of the ids, which makes them unique on the page.
        series: The lines.
        title: Title for screen readers.
        x_label: Label of the horizontal axis.
        ticks: Ticks of the horizontal axis; by default matplotlib's.

    Returns:
        An <svg> element; '' if there are no points.
    """
    if not any(s.points for s in series):
        return ""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10}):
        figure = Figure(figsize=(4.8, 3.0), layout="constrained")
        axes = figure.add_subplot()
        for k, one in enumerate(series):
            _line(figure, axes, one, k - (len(series) - 1) / 2)
        axes.set_xlabel(x_label, color=INK)
        axes.set_ylabel("accuracy (%)", color=INK)
        levels = [level for s in series for level, _ in s.points]
        room = 0.05 * (max(levels) - min(levels)) or 0.5
        axes.set(xlim=(min(levels) - room, max(levels) + room), ylim=(-3, 103))
        if ticks is not None:
            axes.set_xticks(ticks, labels=[f"{t:g}" for t in ticks])
        axes.grid(color=FAINT, linewidth=0.6)
        axes.tick_params(colors=INK)
        for spine in axes.spines.values():
            spine.set_color(INK)
        axes.spines[["top", "right"]].set_visible(False)
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _inline(file.getvalue(), name, title, series)


def _line(figure: Figure, axes: Axes, one: Series, place: float) -> None:
    """Draw one line, its markers in a separate group. place: horizontal offset from the other lines."""
    from matplotlib.transforms import ScaledTranslation

    x = [level for level, _ in one.points]
    y, low, high = ([100 * getattr(s, a) for _, s in one.points] for a in ("value", "low", "high"))
    colour, dense = LINES[one.line % len(LINES)], len(x) > DENSE
    offset = ScaledTranslation(0.0 if dense else 3.5 * place / 72, 0, figure.dpi_scale_trans)
    style: dict[str, Any] = {"color": colour, "transform": axes.transData + offset}
    axes.plot(x, y, linewidth=1.5, linestyle="-" if one.line < len(LINES) else "--", zorder=2, **style)
    if dense:
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0, zorder=1)
    for bar in () if dense else zip(x, low, high, strict=True):
        axes.plot((bar[0], bar[0]), bar[1:], linewidth=1.0, zorder=2, **style)
    axes.plot(
        x,
        y,
        marker=list(MARKERS)[one.line % len(MARKERS)],
        markersize=3.5 if dense else 6,
        linewidth=0,
        gid=f"points-{one.line}",
        zorder=3,
        clip_on=False,
        **style,
    )


def _inline(svg: bytes, name: str, title: str, series: Sequence[Series]) -> str:
    """Make a drawing part of the page: the page's colours, unique ids, points labelled by their numbers."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    text = svg.decode()
    colours = {INK: "--ink", FAINT: "--faint", **{c: f"--line-{k}" for k, c in enumerate(LINES)}}
    for colour, variable in colours.items():
        text = text.replace(colour, f"var({variable})")
    root = ElementTree.fromstring(text)
    unwanted = {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"}  # an inline <style> applies to the whole page
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag in unwanted]:
            parent.remove(child)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key.endswith("href") and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            else:
                element.set(key, value.replace("url(#", f"url(#{name}-"))
    for k, one in enumerate(series):
        group = root.find(f".//*[@id='{name}-points-{one.line}']")
        marks = [] if group is None else list(group.iter(f"{{{_SVG}}}use"))
        for i, (drawn, point) in enumerate(zip(marks, one.points, strict=True)):
            label = one.told(*point)
            drawn.attrib |= {
                "class": "point",
                "role": "img",
                "tabindex": "-1",
                "aria-label": label,
                "data-told": label,
                "data-line": str(k),
                "data-at": str(i),
            }
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    first = next((e for e in root.iter() if e.get("class") == "point"), None)
    if first is not None:
        first.set("tabindex", "0")
    root.attrib |= {
        "class": "chart",
        "role": "group",
        "aria-label": f"{title}; its numbers are in the table below",
    }
    return ElementTree.tostring(root, encoding="unicode")
