"""`surgeon inspect MODEL`."""

from __future__ import annotations

from typing import Any, get_args

import click

from surgeon.cli import networks, options
from surgeon.cli.completing import complete_model
from surgeon.cli.swapped import refuse_recipe
from surgeon.selection import Kind


@click.command("inspect")
@click.argument("model", shell_complete=complete_model)
@options.model_options
@options.in_chans_option
@click.option(
    "--kind", type=click.Choice(get_args(Kind)), help="Sites of one kind; stem and head are layers too."
)
@click.option("--include", multiple=True, metavar="GLOB", help="Sites whose name fits, such as 'layer1.**'.")
@options.json_option
def command(
    model: str, kind: str | None, include: tuple[str, ...], as_json: bool, **model_options: Any
) -> None:
    """List the sites of MODEL, where operations can cut: kind, class, stage, shapes, in execution order.

    For a folder of a rewritten model, show what was done to it first.
    """
    from surgeon import sites
    from surgeon.cli.tables import console, plan_table, sites_table, warning_text
    from surgeon.conditions import matches
    from surgeon.errors import SelectionError, nearest
    from surgeon.methods.annealed import unfinished
    from surgeon.surgery.door import surgery_of

    refuse_recipe(model)
    network = networks.load_model(model, **model_options)
    listed = [
        s for s in sites(network, input_size=model_options["input_size"]) if kind is None or s.is_a(kind)
    ]
    if include:
        fitting = [s for s in listed if any(matches(s.name, p) for p in include)]
        if not fitting:
            raise SelectionError(
                f"no site matches {', '.join(include)}; {nearest(include[0], [s.name for s in listed])}"
            )
        listed = fitting
    record = surgery_of(network)
    if as_json:
        content = {
            "sites": [s.model_dump(mode="json") for s in listed],
            "surgery": record.model_dump(mode="json") if record else None,
            "annealing": unfinished(network) or None,
        }
        options.echo_json(content)
        return
    if record:
        console().print(plan_table(record))
        if said := unfinished(network):
            console().print(warning_text(said))
    console().print(sites_table(listed))
