"""`surgeon revert FOLDER -o STOCK`."""

from __future__ import annotations

import click

from surgeon.cli import networks, options


@click.command("revert")
@click.argument("folder", type=click.Path())
@options.output_option(required=True)
@options.allow_code_option
@options.json_option
def command(
    folder: str,
    output: str,
    overwrite: bool,
    allow_code: tuple[str, ...],
    as_json: bool,
) -> None:
    """Turn the rewritten network in FOLDER back into what it was before the surgery.

    What the surgery displaced comes back bit for bit; what was trained since and lay beside it stays.
    """
    from surgeon import revert, save
    from surgeon.ownership import reserved
    from surgeon.pipeline.lineage import beside

    with reserved(output, overwrite=overwrite, inputs=[folder]):
        stock = revert(networks.load_folder(folder, allow_code))
        save(stock, output, overwrite=overwrite, beside=beside(folder))
    if as_json:
        options.echo_json({"folder": output, "class": type(stock).__name__})
        return
    click.echo(f"{output}: a stock {type(stock).__name__}")
