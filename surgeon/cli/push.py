"""`surgeon push FOLDER OWNER/NAME`."""

from __future__ import annotations

import click

from surgeon.cli import options


@click.command("push")
@click.argument("folder", type=click.Path())
@click.argument("name", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="Make the repository private.")
@click.option(
    "--evaluation", type=click.Path(), metavar="FOLDER", help="Of `surgeon evaluate`, for the model card."
)
@click.option("--revision", metavar="BRANCH", help="Branch to push to; created if it does not exist.")
@click.option("--message", default="A network from surgeon", show_default=True, help="Of the commit.")
@click.option(
    "--dry-run", is_flag=True, help="Load the folder, write the card and list the files; nothing is sent."
)
@options.allow_code_option
@options.json_option
def command(
    folder: str,
    name: str,
    private: bool,
    evaluation: str | None,
    revision: str | None,
    message: str,
    dry_run: bool,
    allow_code: tuple[str, ...],
    as_json: bool,
) -> None:
    """Upload the network in FOLDER to the Hugging Face Hub, with a model card written from its record.

    The folder is loaded first; one that does not load is not sent. The card is README.md in FOLDER; one that
    you wrote or changed is kept. Numbers are in it only with --evaluation, and only those of the very weights
    in FOLDER. Log in first (`hf auth login`, or the variable HF_TOKEN).
    """
    from surgeon.publishing import pushing
    from surgeon.store import hub

    address = None
    if dry_run:
        pushing.prepare(folder, name, evaluation, allow_code=allow_code)
    else:
        address = pushing.push(
            folder,
            name,
            private=private,
            evaluation=evaluation,
            message=message,
            revision=revision,
            allow_code=allow_code,
        )
    files = hub.files_of(folder)
    if as_json:
        options.echo_json({"address": address, "files": files})
        return
    click.echo(address or f"nothing was sent; these would go to {name}:")
    for file in files:
        click.echo(f"  {file}")
