"""`surgeon fold FOLDER -o STOCK`."""

from __future__ import annotations

import json

import click

from surgeon.cli import networks, options


@click.command("fold")
@click.argument("folder", type=click.Path())
@options.output_option(required=True)
@click.option("--partial", is_flag=True, help="Fold what folds and keep the rest.")
@options.allow_code_option
@options.json_option
def command(
    folder: str,
    output: str,
    overwrite: bool,
    partial: bool,
    allow_code: tuple[str, ...],
    as_json: bool,
) -> None:
    """Turn the rewritten network in FOLDER into a stock checkpoint, equal in evaluation mode.

    The result loads with timm.create_model("local-dir:STOCK", pretrained=True), without surgeon.
    """
    from surgeon import fold, save
    from surgeon.ownership import reserved
    from surgeon.pipeline.lineage import beside
    from surgeon.surgery.door import surgery_of
    from surgeon.verification import compare

    with reserved(output, overwrite=overwrite, inputs=[folder]):
        network = networks.load_folder(folder, allow_code)
        folded = fold(network, partial=partial)
        check = compare(network, folded)
        save(folded, output, overwrite=overwrite, beside=beside(folder))
    left = surgery_of(folded)
    if as_json:
        content = {
            "folder": output,
            "class": type(folded).__name__,
            "edits_left": len(left.edits) if left else 0,
            "check": check.model_dump(mode="json"),
        }
        click.echo(json.dumps(content, indent=2))
        return
    what = f"{len(left.edits)} edits left" if left else f"a stock {type(folded).__name__}"
    click.echo(f"{output}: {what}; {check.detail}")
