"""`surgeon pull OWNER/NAME -o FOLDER`."""

from __future__ import annotations

import click

from surgeon.cli import options


@click.command("pull")
@click.argument("name", metavar="OWNER/NAME")
@click.option(
    "--revision", metavar="REVISION", help="A branch, a tag or a commit; by default the main branch."
)
@options.output_option(required=True)
@options.json_option
def command(name: str, revision: str | None, output: str, overwrite: bool, as_json: bool) -> None:
    """Download a network that surgeon wrote from the Hugging Face Hub to a folder, and check its files.

    Without a folder, hf-hub:OWNER/NAME can stand wherever a command takes MODEL or FOLDER.
    """
    from surgeon.store import hub

    folder = hub.pull(name, output, revision=revision, overwrite=overwrite)
    files = hub.files_of(folder)
    if as_json:
        options.echo_json({"folder": output, "files": files})
        return
    click.echo(f"{output}: {', '.join(files)}")
