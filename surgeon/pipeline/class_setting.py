"""The setting that names classes in an order, as a message gives it to copy."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from surgeon import strict_yaml
from surgeon.errors import either


def classes_setting(names: Sequence[str]) -> str:
    """The setting that names classes in an order, as it is read: for a shell to paste on the command line.

    Args:
        names: the classes' names.

    Examples:
        >>> from surgeon.pipeline.class_setting import classes_setting
        >>> classes_setting(["cat", "8", "no"])
        'data.classes=[cat, "8", "no"]'
    """
    setting = f"data.classes=[{', '.join(map(_item, names))}]"
    return either(setting, f"--set {shlex.quote(setting)}")


def _item(name: str) -> str:
    """A text in a list of YAML: plain where it is read as this text, else in quotes."""
    try:
        plain = strict_yaml.load(f"[{name}]") == [name]
    except strict_yaml.YamlError:
        plain = False
    return name if plain else json.dumps(name, ensure_ascii=False)
