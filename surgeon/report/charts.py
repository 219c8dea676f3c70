"""Charts as SVG inside the page: drawn by matplotlib, coloured by the page's style, each point with its numbers."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from surgeon.evaluation.statistics import Share

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, FAINT = "#010203", "#040506"
"""Colours that the page's style takes the place of."""


@dataclass(frozen=True)
class Series:
    """One line: (level, share) with intervals."""

    name: str
    points: tuple[tuple[float, Share], ...]


def line_chart(
    name: str,
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str = "accuracy (%)",
    scale: float = 1.0,
) -> str:
    """An <svg> of lines with their 95 % intervals; `name` makes its ids its own. '' where there is nothing to draw.

    scale: what levels are multiplied by on the axis.
    """
    drawn = [s for s in series if s.points]
    if not drawn:
        return ""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10}):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for k, one in enumerate(drawn):
            x = [level * scale for level, _ in one.points]
            y = [100 * share.value for _, share in one.points]
            below = [max(0.0, 100 * (s.value - s.low)) for _, s in one.points]
            above = [max(0.0, 100 * (s.high - s.value)) for _, s in one.points]
            colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
            axes.errorbar(
                x, y, yerr=[below, above], color=colour, linewidth=1.5, elinewidth=0.8, capsize=2, zorder=2
            )
            axes.plot(
                x,
                y,
                color=colour,
                marker=marker,
                markersize=6,
                linewidth=0,
                label=one.name,
                gid=f"points-{k}",
                zorder=3,
            )
        axes.set(xlabel=x_label, ylabel=y_label, ylim=(-3, 103), title=title)
        axes.grid(color=FAINT, linewidth=0.6)
        axes.legend(frameon=False, labelcolor=INK)
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
            text.set_color(INK)
        axes.tick_params(colors=INK)
        for spine in axes.spines.values():
            spine.set_color(INK)
        axes.spines[["top", "right"]].set_visible(False)
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    summary = "; ".join(
        f"{s.name}: " + ", ".join(f"{level * scale:g}: {share.value:.1%}" for level, share in s.points)
        for s in drawn
    )
    return _inline(file.getvalue().decode(), name, f"{title}. {summary}", drawn, scale)


def _inline(svg: str, name: str, alt: str, series: Sequence[Series], scale: float) -> str:
    """The drawing without its prologue, in the page's colours, with ids of its own and a text for each point."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(
        r'(<svg[^>]*?) width="[^"]*"',
        r"\1",
        re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1),
        count=1,
    )
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(xlink:href="|href=")#', rf"\1#{name}-", svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    svg = re.sub(INK, "var(--ink)", svg, flags=re.I)
    svg = re.sub(FAINT, "var(--faint)", svg, flags=re.I)
    for k, one in enumerate(series):
        texts = [
            f"{one.name}, {level * scale:g}: {share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"
            for level, share in one.points
        ]
        svg = _told(svg, f"{name}-points-{k}", texts)
    return svg.replace(
        "<svg", f'<svg class="chart" role="img" aria-label="{html.escape(alt, quote=True)}"', 1
    )


def _told(svg: str, group: str, texts: Sequence[str]) -> str:
    """Each marker of a group as a thing that can be pointed at and reached by keyboard."""
    start = svg.find(f'<g id="{group}"')
    if start < 0:
        return svg
    count = 0

    def tell(match: re.Match[str]) -> str:
        nonlocal count
        text = html.escape(texts[count], quote=True) if count < len(texts) else ""
        count += 1
        return (
            f'<use class="point" tabindex="0" role="img" aria-label="{text}" data-told="{text}"'
            if text
            else match.group(0)
        )

    end = svg.find("</g>\n   </g>", start)
    end = len(svg) if end < 0 else end
    return svg[:start] + re.sub(r"<use", tell, svg[start:end], count=len(texts)) + svg[end:]
