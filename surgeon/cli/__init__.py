"""The command line: one file a command, each imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

import surgeon
from surgeon.errors import SurgeonError

COMMANDS = {
    "apply": "Rewrite a model by a recipe, and save it to a folder.",
    "plan": "Show what a recipe would do to a model, without doing it.",
    "inspect": "List the sites of a model, or what was done to a saved one.",
    "fold": "Turn a rewritten folder into a stock checkpoint.",
    "revert": "Turn a rewritten folder back into the network before the surgery.",
    "run": "Surgery, training and evaluation of a recipe, into one resumable folder.",
    "demo": "The whole job on real scanned digits, in a few minutes.",
    "recipes": "List, show, validate recipes; print their schema.",
    "models": "List the models that can be named.",
}


class Commands(click.Group):
    """A group whose commands live in modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"surgeon.cli.{cmd_name}").command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        from surgeon.errors import nearest

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}; {nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(surgeon.__version__, prog_name="surgeon")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def group(ctx: click.Context, debug: bool) -> None:
    """Model surgery for robustness: rewrite timm and torchvision networks by recipes."""
    ctx.obj = {"debug": debug}


def main(args: list[str] | None = None) -> None:
    """Run the command line. Errors of surgeon and of the disk are one line on stderr and exit code 2."""
    given = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in given
    if debug:
        given = ["--debug", *(a for a in given if a != "--debug")]
    try:
        group.main(given, prog_name="surgeon", standalone_mode=True)
    except (SurgeonError, OSError, MemoryError) as error:
        if debug:
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        click.echo(f"Error: {text}", err=True)
        sys.exit(2)
