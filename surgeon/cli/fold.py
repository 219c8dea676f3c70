"""`surgeon fold FOLDER -o STOCK`."""

from __future__ import annotations

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
    """Turn the rewritten network in FOLDER into one of plain layers, equal in evaluation mode.

    Where its layers are those of the architecture, the result is a stock checkpoint, which loads with
    timm.create_model("local-dir:STOCK", pretrained=True), without surgeon. Where an operation exchanged
    layers (smooth-activation, soft-pool, blur-pool at convolutions), surgeon loads it, timm refuses it, and
    `surgeon export` makes a file that needs neither.
    """
    from surgeon import fold, save
    from surgeon.ownership import reserved
    from surgeon.pipeline.lineage import beside
    from surgeon.surgery.door import changed_by_fold, surgery_of
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
            "stock": left is None and changed_by_fold(folded) is None,
            "check": check.model_dump(mode="json"),
        }
        options.echo_json(content)
        return
    kind = type(folded).__name__
    what = f"{len(left.edits)} edits left" if left else f"a stock {kind}"
    if changed := changed_by_fold(folded):
        by = ", ".join(dict.fromkeys(e.operation.split("#")[0] for e in changed.edits if e.exchanges))
        what = (
            f"a {kind} of plain layers, no stock checkpoint, since {by} exchanged layers: surgeon loads it, timm "
            f"refuses it, and surgeon export {output} makes a file that needs neither"
        )
    click.echo(f"{output}: {what}; {check.detail}")
