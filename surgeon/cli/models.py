"""`surgeon models [GLOB]`."""

from __future__ import annotations

import click

from surgeon.cli import options


@click.command("models")
@click.argument("pattern", default="*")
@options.json_option
def command(pattern: str, as_json: bool) -> None:
    """List the models that can be named: timm's as they are, others as torchvision/NAME and zoo/NAME."""
    from surgeon.errors import ModelError, nearest
    from surgeon.models.creating import list_models

    models = list_models(pattern)
    if not models:
        wider = f"; '*{pattern.lower()}*' lists all with it in their names" if "*" not in pattern else ""
        raise ModelError(f"no model matches {pattern!r}; {nearest(pattern.strip('*'), list_models())}{wider}")
    if as_json:
        options.echo_json(models)
    else:
        click.echo("\n".join(models))
