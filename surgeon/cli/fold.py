"""`surgeon fold FOLDER -o STOCK`."""

from __future__ import annotations

import click

from surgeon.cli import options


@click.command("fold")
@click.argument("folder", type=click.Path())
@options.output_option(required=True)
@click.option("--partial", is_flag=True, help="Fold what folds and keep the rest.")
def command(folder: str, output: str, overwrite: bool, partial: bool) -> None:
    """Turn the rewritten network in FOLDER into a stock checkpoint, equal in evaluation mode.

    The result loads with timm.create_model("local-dir:STOCK", pretrained=True), without surgeon.
    """
    from surgeon import fold, load, save
    from surgeon.artifact import check_free
    from surgeon.cli.tables import console
    from surgeon.surgery.tree import surgery_of
    from surgeon.verification import compare

    check_free(output, overwrite=overwrite)
    network = load(folder)
    folded = fold(network, partial=partial)
    check = compare(network, folded)
    save(folded, output, overwrite=overwrite)
    left = surgery_of(folded)
    what = f"{len(left.edits)} edits left" if left else f"a stock {type(folded).__name__}"
    console().print(f"{output}: {what}; {check.detail}", highlight=False)
