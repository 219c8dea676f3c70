"""A picture with its caption, and the conversion of a figure into one."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
WIDTH = 640 / DPI
"""Inches: a figure of this width has 640 pixels."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours of Okabe and Ito (2008), distinct for any colour vision; lines differ in style and marker too."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", "-", "--", "-.")
WRONG = "#c00000"
"""Colour of text on wrong predictions, dark enough to be read on white."""
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "figure.titlesize": 10,
    "text.usetex": False,
    "text.parse_math": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": None,
}


@dataclass(frozen=True)
class Picture:
    """A PNG, 640 pixels wide, with its description.

    Attributes:
        name: Stem of its file name.
        title: Title.
        caption: What it shows, how it was measured, and the paper's figure that it follows.
        alt: The same for those who cannot see it, with the numbers.
        png: Content of the file.

    Examples:
        >>> from pathlib import Path
        >>> for picture in made:  # doctest: +SKIP
        ...     Path(f"{picture.name}.png").write_bytes(picture.png)
    """

    name: str
    title: str
    caption: str
    alt: str
    png: bytes


def png(draw: Callable[[], Figure]) -> bytes:
    """Render a figure as PNG on white, independent of the user's matplotlib settings.

    Args:
        draw: Makes the figure.

    Returns:
        The PNG's bytes.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with rc_context(STYLE):
        figure = draw()
        FigureCanvasAgg(figure)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=DPI, facecolor="white")
    return file.getvalue()


def blank(height: float) -> Figure:
    """Make an empty figure, 640 pixels wide.

    Args:
        height: Height in inches, 110 pixels each.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout=layout, facecolor="white")
