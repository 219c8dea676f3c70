"""The command line: one file a command, each imported only when it is called."""

from __future__ import annotations

import errno
import importlib
import io
import sys
import warnings
from typing import Any

import click

import surgeon
from surgeon.cli.once import check_once
from surgeon.errors import (
    ArtifactWarning,
    CalibrationWarning,
    SurgeonError,
    SurgeryWarning,
    at_the_command_line,
    line_of,
)
from surgeon.interrupts import Stopped, handled
from surgeon.namesake import tell

COMMANDS = {
    "apply": "Rewrite a model by a recipe, and save it to a folder.",
    "convert": "Cut trained checkpoints so that they keep what they can; what they lost, and where.",
    "plan": "Show what a recipe would do to a model, without doing it.",
    "inspect": "List the sites of a model, or what was done to a saved one.",
    "fold": "Turn a rewritten folder into a stock checkpoint.",
    "export": "Write a network as one ONNX or torch.export file, checked.",
    "revert": "Turn a rewritten folder back into the network before the surgery.",
    "train": "Surgery and training of a recipe, into one resumable folder.",
    "run": "Surgery, training and evaluation of a recipe, into one resumable folder.",
    "evaluate": "How robust a network is, and whether that can be believed.",
    "study": "What a surgery itself brings: five arms, one budget, the same seeds.",
    "reproduce": "The tables of the papers: their figures beside those measured here.",
    "report": "One page about one or several evaluations.",
    "verify": "Whether a folder still fits to all that it was made from.",
    "doctor": "What state a network is in, and what fold, save, export and train would say to it.",
    "push": "Upload a network to the Hugging Face Hub, with a model card.",
    "pull": "Download a network from the Hugging Face Hub, checked.",
    "demo": "The whole job on real scanned digits, in a few minutes.",
    "recipes": "List, show, validate recipes; print their schema.",
    "models": "List the models that can be named.",
    "new-operation": "Write a package with an operation of your own.",
}


class Refused(click.ClickException):
    """What the user can mend: one line on stderr, exit code 2."""

    exit_code = 2


def _in_one_line(error: click.UsageError) -> click.ClickException:
    """What click tells in three lines; a call without arguments still shows the help."""
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # click 8.1 does not have it
        return error
    place = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
    text = (isinstance(error, click.NoSuchOption) and _as_setting(error)) or error.format_message()
    return Refused(" ".join(text.split()).rstrip(".") + place)


def _as_setting(error: click.NoSuchOption) -> str:
    """The message for an option that a command does not have, where --set says it; else ''."""
    taken = {p.name: p for p in error.ctx.command.params} if error.ctx else {}
    if "settings" not in taken:
        return ""
    from surgeon.methods.registry import names
    from surgeon.recipe import owners
    from surgeon.spelling import places

    matching = places(error.option_name, owners(names()))
    if taken["settings"].metavar == "KEY=VALUE":  # of an evaluation alone
        matching = [p.removeprefix("evaluation.") for p in matching if p.startswith("evaluation.")]
    elif not str(taken["settings"].metavar).startswith("PART"):  # of operations alone
        matching = [p for p in matching if not p.startswith(("training.", "data.", "evaluation."))]
    shown = " or ".join(f"--set {p}=VALUE" for p in matching[:3])
    return f"No such option {error.option_name!r}; write {shown}" if shown else ""


class Commands(click.Group):
    """A group whose commands live in modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"surgeon.cli.{cmd_name.replace('-', '_')}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from surgeon.errors import nearest

        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"no command {args[0]!r}; {nearest(args[0], COMMANDS)}")
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            check_once(command, name, rest, ctx)
        return name, command, rest

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--debug" in args:  # of the group, and accepted behind the command too
            args = ["--debug", *(a for a in args if a != "--debug")]
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Read the group's own options; what is wrong with them is told in one line."""
        try:
            return super().make_context(*args, **more)
        except click.UsageError as error:
            raise _in_one_line(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what is wrong with its arguments, and errors of surgeon, of the disk and of memory,
        become one line
        and exit code 2."""
        try:
            with at_the_command_line():
                return super().invoke(ctx)
        except click.UsageError as error:
            raise _in_one_line(error) from error
        except Stopped as stopped:
            click.echo(str(stopped), err=True)
            raise SystemExit(stopped.exit_code) from stopped
        except (SurgeonError, OSError, MemoryError) as error:
            if ctx.params.get("debug") or getattr(error, "errno", None) == errno.EPIPE:
                raise
            raise Refused(line_of(error)) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(surgeon.__version__, prog_name="surgeon")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def group(debug: bool) -> None:
    """Model surgery for robustness: rewrite timm and torchvision networks by recipes."""
    warnings.simplefilter("ignore", CalibrationWarning)  # what is printed of the record has the same notes
    warnings.formatwarning = _formatted


_of_python = warnings.formatwarning


def _formatted(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> str:
    """Write a warning of surgeon's as one line, and any other as Python does, with the line of code."""
    if issubclass(category, (ArtifactWarning, SurgeryWarning)):
        return f"warning: {' '.join(str(message).split())}\n"
    return _of_python(message, category, *place, **more)


def main(args: list[str] | None = None) -> None:
    """Run the command line on `args`, by default those of the process, and exit."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="replace"
        )  # a sign that the terminal's encoding does not have is shown as ?
    tell(lambda line: click.echo(f"warning: {line}", err=True))
    with handled():
        group.main(args, prog_name="surgeon")
