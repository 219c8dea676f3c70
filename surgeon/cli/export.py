"""`surgeon export FOLDER -o FILE`."""

from __future__ import annotations

import click

from surgeon.cli import networks, options
from surgeon.cli.parameters import Size


@click.command("export")
@click.argument("folder", type=click.Path())
@click.option(
    "--format",
    "kind",
    type=click.Choice(["onnx", "torch-export"]),
    default="onnx",
    show_default=True,
    help="onnx: a .onnx file; torch-export: a .pt2 file of torch.export.",
)
@click.option("-o", "--output", type=click.Path(), required=True, metavar="FILE", help="Where to write.")
@click.option("--overwrite", is_flag=True, help="Replace the file if surgeon wrote it.")
@click.option("--input-size", type=Size(), help="Size of one image, where the folder does not state it.")
@click.option("--no-fold", is_flag=True, help="Export the layers of the surgery also where they fold.")
@click.option("--fixed-batch", is_flag=True, help="One image at a time, instead of any number.")
@click.option(
    "--opset", type=int, metavar="N", help="Version of ONNX's operators; by default torch's choice."
)
@options.allow_code_option
@options.json_option
def command(
    folder: str,
    kind: str,
    output: str,
    overwrite: bool,
    input_size: tuple[int, ...] | None,
    no_fold: bool,
    fixed_batch: bool,
    opset: int | None,
    allow_code: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write the network in FOLDER as one file for other runtimes, and check it.

    What folds is folded. The file is run on seeded images, by onnxruntime or by torch, and must give the outputs of
    the network in FOLDER; it appears only then. Neither kind of file needs surgeon.
    """
    from surgeon import export

    with options.json_alone(as_json):
        done = export(
            networks.load_folder(folder, allow_code),
            output,
            format=kind,  # type: ignore[arg-type]  # click gives one of the formats
            input_size=input_size,
            dynamic_batch=not fixed_batch,
            fold=not no_fold,
            overwrite=overwrite,
            opset=opset,
        )
    if as_json:
        click.echo(done.model_dump_json(indent=2))
        return
    what = "no surgery left" if done.folded else f"{done.edits_left} edits left"
    version = f", opset {done.opset}" if done.opset else ""
    if done.left_out:
        what += f", takes images alone and not {', '.join(done.left_out)}"
    click.echo(f"{output}: {kind}{version}, {done.bytes / 2**20:.1f} MiB, {what}; {done.check.detail}")
