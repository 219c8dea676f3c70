"""An option is given one value: of two that differ, the last would win unseen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click


def check_once(
    command: click.Command, name: str | None, arguments: Sequence[str], parent: click.Context
) -> None:
    """Check that no option of a command is given two values, before anything of it is read.

    Args:
        command: The command, or a group, whose own command is looked at.
        name: What it is called.
        arguments: What stands behind its name.
        parent: The context of the group that it is in.

    Raises:
        click.UsageError: One is; the message names both values.
    """
    context = command.context_class(command, info_name=name, parent=parent, **command.context_settings)
    single = [
        p
        for p in command.get_params(context)
        if isinstance(p, click.Option) and not p.multiple and not p.count and p.name
    ]
    with _all_values(single):
        given, rest, _ = command.make_parser(context).parse_args(list(arguments))
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


def _written(value: Any) -> Any:
    """A value as it can be compared: several words of one option are a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _said(option: click.Option, value: Any) -> str:
    """An option with its value, as a person writes it."""
    name = max(option.opts, key=len)
    if option.is_flag:
        return max(option.secondary_opts, key=len) if option.secondary_opts and value is False else name
    return f"{name} {' '.join(map(str, value)) if isinstance(value, tuple) else value}"
