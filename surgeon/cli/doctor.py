"""`surgeon doctor MODEL`."""

from __future__ import annotations

from typing import Any

import click

from surgeon.cli import networks, options
from surgeon.cli.completing import complete_model
from surgeon.cli.swapped import refuse_recipe


@click.command("doctor")
@click.argument("model", shell_complete=complete_model)
@options.model_options
@options.in_chans_option
@options.json_option
def command(model: str, as_json: bool, **model_options: Any) -> None:
    """What state MODEL is in, and what fold, save, export and train would say to it.

    MODEL is a name, or a folder that surgeon wrote. Whether every site is still what the record of the
    surgery says, in which state torch is, whether the network runs; then each of the others is tried on a
    copy. One line each: `ok`; `FAILED`, and why; `–`, where it cannot be tried. Nothing is kept. Exit code 0
    if nothing failed, 1 otherwise.
    """
    from surgeon.cli.tables import checks_table, console
    from surgeon.pipeline.doctor import examine

    refuse_recipe(model)
    network = networks.load_model(model, **model_options)
    checks = examine(network, input_size=model_options["input_size"])
    if as_json:
        options.echo_json([c.model_dump(mode="json") for c in checks])
    else:
        console().print(checks_table(checks))
    if any(c.ok is False for c in checks):
        raise SystemExit(1)
