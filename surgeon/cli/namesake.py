"""Another program of the name: the distribution `surgeon` on the package index has a package `surgeon` too.

Ours is distributed as `fx-surgeon`. Where both are installed, they have written into the same folder.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

import click

OURS = "surgeon.cli:main"
"""The entry point by which a distribution is known as this program, whatever its name."""


def warn_of_a_namesake() -> None:
    """One line on stderr where the distribution `surgeon` is installed and is not this program."""
    try:
        other = distribution("surgeon")
    except PackageNotFoundError:
        return
    if any(
        point.value == OURS for point in other.entry_points
    ):  # installed from a checkout under its old name
        return
    click.echo(
        f"warning: another program, the distribution surgeon {other.version}, is installed "
        "into the same folder as this one; "
        "pip uninstall surgeon, then pip install --force-reinstall --no-deps fx-surgeon",
        err=True,
    )
