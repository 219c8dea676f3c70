"""Charts of a number for each layer, one line per model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from surgeon.insight.picture import COLOURS, LINES, MARKERS, blank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ByLayer = Mapping[str, float]
"""A number for each layer, in execution order."""


def draw_lines(panels: Mapping[str, Mapping[str, ByLayer]], y_label: str, height: float = 3.3) -> Figure:
    """Draw panels side by side on one scale.

    Models with the same layers are drawn over the layer's index, others over their depth in percent.

    Args:
        panels: Title → model → layer → number.
        y_label: Label of the vertical axis.
        height: Height of the figure in inches.

    Returns:
        The figure.
    """
    figure = blank(height)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (title, models) in zip(axes, panels.items(), strict=True):
        _lines(axis, models)
        axis.set_title(title)
    axes[0].set_ylim(bottom=0)  # after all lines: it ends autoscaling of the axis that all panels share
    axes[0].set_ylabel(y_label)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(3, len(labels)), frameon=False, fontsize=8.5
    )
    return figure


def _lines(axis: Axes, models: Mapping[str, ByLayer]) -> None:
    same = len({tuple(lines) for lines in models.values()}) == 1
    for k, (name, lines) in enumerate(models.items()):
        count = len(lines)
        x = [i + 1 if same else 100 * i / max(count - 1, 1) for i in range(count)]
        axis.plot(
            x,
            list(lines.values()),
            LINES[k % len(LINES)],
            color=COLOURS[k % len(COLOURS)],
            label=name,
            marker=MARKERS[k % len(MARKERS)],
            markersize=3.5,
            linewidth=1.3,
            markevery=max(1, count // 20),
        )
    axis.set_xlabel("layer, in execution order" if same else "depth (% of the model's layers)")
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)


def told(models: Mapping[str, ByLayer]) -> str:
    """Describe a panel in words: each model's value at the first layer, its largest value and its last.

    Args:
        models: Model → layer → number.

    Returns:
        The text.
    """
    parts = []
    for name, lines in models.items():
        top = max(lines, key=lambda layer: lines[layer])
        first, *_, last = [*lines.values(), *lines.values()]
        parts.append(f"{name}: first layer {first:.3g}, largest {lines[top]:.3g} at {top}, last {last:.3g}")
    return "; ".join(parts)
