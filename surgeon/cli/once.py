"""An option is given one value: of two that differ, the last would win unseen, and an empty one would be none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click


def check_once(
    command: click.Command, name: str | None, arguments: Sequence[str], parent: click.Context
) -> None:
    """Check that no option of a command is given two values, and nothing an empty one, before anything of it is read.

    An empty text is what the shell makes of a variable that is not set. As a folder it would be the present one, and as
    a file of weights it would be left out.

    Args:
        command: The command, or a group, whose own command is looked at.
        name: What it is called.
        arguments: What stands behind its name.
        parent: The context of the group that it is in.

    Raises:
        click.UsageError: An option has two values, and the message names both; or a value is empty, or an option.
    """
    context = command.context_class(command, info_name=name, parent=parent, **command.context_settings)
    single = [
        p
        for p in command.get_params(context)
        if isinstance(p, click.Option) and not p.multiple and not p.count and p.name
    ]
    with _all_values(single):
        given, rest, _ = command.make_parser(context).parse_args(list(arguments))
    options = {o for p in command.get_params(context) for o in (*p.opts, *p.secondary_opts) if o[:1] == "-"}
    for parameter in command.get_params(context):
        for value in filter(lambda v: isinstance(v, str), _each(given.get(str(parameter.name)))):
            if not value.strip():
                raise click.UsageError(_empty(parameter), context)
            if value in options or value == "--":
                name = max(parameter.opts, key=len)
                raise click.UsageError(f"{name} has no value: behind it stands {value}, an option", context)
    for option in single:
        values = list(dict.fromkeys(map(_written, given.get(str(option.name)) or ())))
        if len(values) > 1:
            first, second, *_ = (_said(option, v) for v in values)
            raise click.UsageError(
                f"{first} and {second} say two things of one option: leave one of them out", context
            )
    if isinstance(command, click.Group) and rest and (inner := command.get_command(context, rest[0])):
        check_once(inner, rest[0], rest[1:], context)


@contextmanager
def _all_values(options: Sequence[click.Option]) -> Iterator[None]:
    """Inside, the parser that is made for options keeps every value that they are given."""
    for option in options:
        option.multiple = True
    try:
        yield
    finally:
        for option in options:
            option.multiple = False


def _each(value: Any) -> Iterator[Any]:
    """All texts of a value, which may be one, several, or several of several words."""
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _each(part)
    else:
        yield value


def _empty(parameter: click.Parameter) -> str:
    """The message for an option or an argument whose value is empty."""
    named = isinstance(parameter, click.Option)
    name = max(parameter.opts, key=len) if named else parameter.human_readable_name
    more = ", or leave the option out" if named and not parameter.required else ""
    return f"{name} is empty, as an unset variable of the shell is: give it a value{more}"


def _written(value: Any) -> Any:
    """A value as it can be compared: several words of one option are a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _said(option: click.Option, value: Any) -> str:
    """An option with its value, as a person writes it."""
    name = max(option.opts, key=len)
    if option.is_flag:
        return max(option.secondary_opts, key=len) if option.secondary_opts and value is False else name
    return f"{name} {' '.join(map(str, value)) if isinstance(value, tuple) else value}"
