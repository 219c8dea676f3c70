"""`surgeon verify FOLDER`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from surgeon.cli import networks, options

if TYPE_CHECKING:
    from surgeon.verification import Check


@click.command("verify")
@click.argument("folder", type=click.Path())
@options.allow_code_option
@options.json_option
def command(folder: str, allow_code: tuple[str, ...], as_json: bool) -> None:
    """Whether what is in FOLDER still fits together, and to the data and weights that it was made from.

    FOLDER is a network, a conversion, a run, an evaluation, a study or a reproduction that surgeon wrote, or a page of
    `surgeon report`. The
    chain is read again: data, cut, training, evaluation, report. One line a link: `ok`; `FAILED`, and what
    does not fit any more; `–`, where it cannot be checked, because something is no longer there or not
    finished. Nothing is written. Exit code 0 if nothing failed, 1 otherwise, 2 for a folder that is not one of
    surgeon's.
    """
    from surgeon.cli.tables import checks_table, console
    from surgeon.pipeline.verifying import verify_folder

    if allow_code:
        networks.code_lies_here("", allow_code)
    checks = verify_folder(folder, allow_code=allow_code)
    failed = sum(c.ok is False for c in checks)
    if as_json:
        options.echo_json([c.model_dump(mode="json") for c in checks])
    else:
        console().print(checks_table(checks))
        console().print(_summary(checks, failed, folder), highlight=False)
    if failed:
        raise SystemExit(1)


def _summary(checks: Sequence[Check], failed: int, folder: str) -> str:
    open_ = sum(c.ok is None for c in checks)
    rest = f"; {open_} could not be checked" if open_ else ""
    if failed:
        return f"{folder}: {failed} of {len(checks)} links do not fit{rest}"
    return (
        f"{folder}: all {len(checks) - open_} links that could be checked fit{rest}"
        if open_
        else (f"{folder}: all {len(checks)} links fit")
    )
