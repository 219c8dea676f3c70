"""Another program of the name: the distribution `surgeon` on the package index has a package `surgeon` too.

Ours is distributed as `fx-surgeon`. Where both are installed, they have written into the same folder. The command line
says so, and in Python a warning when the first public name is loaded: `import surgeon` alone reads no folder. Where the
other one's `surgeon/__init__.py` was written last, Python runs that, and only the command line can say it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

_OURS = "surgeon.cli:main"
"""The entry point by which a distribution is known as this program, whatever its name."""
_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_told = False


def beside(folder: str = _FOLDER) -> str:
    """Look for the distribution `surgeon` in the folder that a package lies in.

    Args:
        folder: The folder; by default this package's.

    Returns:
        One line about it; "" where it is not installed, or where it is this program, installed under its old name.
    """
    try:
        names = os.listdir(folder)
    except OSError:  # in an archive, or not to be read
        return ""
    for name in names:
        base, ending = os.path.splitext(name)
        if name.startswith("surgeon-") and ending in (".dist-info", ".egg-info"):
            if _is_ours(os.path.join(folder, name, "entry_points.txt")):
                continue
            return (
                f"another program, the distribution surgeon {base.split('-')[1]}, is installed into the same folder as "
                "this one; pip uninstall surgeon, then pip install --force-reinstall --no-deps fx-surgeon"
            )
    return ""


def tell(how: Callable[[str], object] | None = None) -> None:
    """Say once in a process that the other program is installed into the same folder, where it is.

    Args:
        how: What to do with the line; by default it is a warning at the caller's line.
    """
    global _told
    if _told:
        return
    _told = True
    line = beside()
    if line and how is not None:
        how(line)
    elif line:
        from surgeon.warned import warn

        warn(line)


def _is_ours(points: str) -> bool:
    try:
        with open(points, encoding="utf-8") as file:
            return _OURS in file.read()
    except OSError:
        return False
