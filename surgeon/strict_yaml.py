"""Read YAML 1.2 within limits, and only where a value has one meaning. No torch here.

ruamel.yaml parses the structure; the meaning of a plain word follows the core schema of YAML 1.2. Refused
are duplicate keys, tags, anchors and aliases (a few hundred bytes of which can expand to gigabytes),
multiple documents, keys that are not text, and plain words that YAML 1.1 reads differently: `yes`, `010`,
`1:30`, `1_000`. In quotes each of them is text.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from surgeon.errors import RecipeError, SurgeonError
from surgeon.numerals import vanishes

LONGEST, DEEPEST, MOST = 2**20, 32, 20_000
"""The most characters of a text, levels of nesting, and values."""
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,99})|0o[0-7]{1,99}|0x[0-9a-fA-F]{1,99}")
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_OLD_FLAG = re.compile(r"y|n|yes|no|on|off", re.IGNORECASE)
_OLD_NUMBER = re.compile(
    r"[-+]?(?:0[0-9]+|[0-9][0-9_]*_[0-9_]*|0b[01_]+|[0-9][0-9_]*(?::[0-5]?[0-9])+)(?:\.[0-9_]*)?"
)


class YamlError(SurgeonError):
    """A text is not YAML, is refused, or is too large. `line` counts from 1."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(f"line {line}: {reason}")
        self.reason, self.line = reason, line


def load(text: str) -> Any:
    r"""Parse a text.

    Args:
        text: YAML.

    Returns:
        Dicts with text as keys, lists, text, numbers, True, False, None.

    Raises:
        YamlError: the text is not YAML, is refused, or is too large.

    Examples:
        >>> load("lr: 1e-3\nsizes: [1, 2]")
        {'lr': 0.001, 'sizes': [1, 2]}
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if len(text) > LONGEST:
        raise YamlError(f"it is longer than {LONGEST >> 20} MiB", 1)
    builder = _Builder()
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(str(error.problem or "no YAML"), mark.line + 1 if mark else 1) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise YamlError(" ".join(str(error).split())[:200] or "no YAML", 1) from None
    return builder.found


def mapping_in(path: Path, key: str) -> dict[str, Any]:
    """Read a file that holds a mapping: a recipe, a protocol.

    Args:
        path: the file.
        key: a key that such a mapping has, for the message.

    Raises:
        RecipeError: the file cannot be read, is too large, is not YAML, or holds something else.
    """
    try:
        if path.stat().st_size > LONGEST:
            raise RecipeError(f"{path} cannot be read: it is larger than {LONGEST >> 20} MiB")
        content = load(path.read_text(encoding="utf-8"))
    except YamlError as error:
        raise RecipeError(f"{path}, {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{path} holds {type(content).__name__}, not a mapping with the key {key!r}")
    return content


class _Builder:
    """Assembles values from the parser's events, without recursion."""

    def __init__(self) -> None:
        self.found: Any = None
        self.open: list[Any] = []
        """The lists and dicts around the present place."""
        self.keys: list[Any] = []
        """Of each of them the key whose value comes next, or _NEXT."""
        self.documents = self.count = 0

    def take(self, event: Any) -> None:
        """Process one event."""
        kind, line = type(event).__name__, event.start_mark.line + 1
        if kind == "DocumentStartEvent":
            self.documents += 1
            if self.documents > 1 or event.version or event.tags:
                raise YamlError("one document without %-lines is wanted", line)
        if kind == "AliasEvent" or getattr(event, "anchor", None):
            raise YamlError("anchors (&) and aliases (*) are not read: write the value out", line)
        if getattr(event, "tag", None) and kind != "DocumentStartEvent":
            raise YamlError(f"tags are not read: {str(event.tag)[:80]!r}", line)
        if kind in ("SequenceEndEvent", "MappingEndEvent"):
            self.open.pop()
            self.keys.pop()
        elif kind == "ScalarEvent":
            plain = event.style is None or event.style == ""
            is_key = bool(self.open) and isinstance(self.open[-1], dict) and self.keys[-1] is _NEXT
            self._put(event.value if is_key or not plain else resolved(event.value, line), line)
        elif kind in ("SequenceStartEvent", "MappingStartEvent"):
            container: Any = [] if kind.startswith("Sequence") else {}
            self._put(container, line)
            self.open.append(container)
            self.keys.append(_NEXT)
            if len(self.open) > DEEPEST:
                raise YamlError(f"it is nested deeper than {DEEPEST} levels", line)

    def _put(self, value: Any, line: int) -> None:
        self.count += 1
        if self.count > MOST:
            raise YamlError(f"it holds more than {MOST:,} values", line)
        if not self.open:
            self.found = value
        elif isinstance(self.open[-1], list):
            self.open[-1].append(value)
        elif self.keys[-1] is _NEXT:
            if not isinstance(value, str):
                raise YamlError("a key must be a word", line)
            if value in self.open[-1]:
                raise YamlError(f"the key {value[:80]!r} stands here twice", line)
            self.keys[-1] = value
        else:
            self.open[-1][self.keys[-1]] = value
            self.keys[-1] = _NEXT


_NEXT = object()


def resolved(word: str, line: int = 1) -> Any:
    """The meaning of a word without quotes.

    Args:
        word: the word.
        line: its line, for the message.

    Raises:
        YamlError: YAML 1.1 and 1.2 read it differently.

    Examples:
        >>> resolved("true"), resolved("1e-3"), resolved("kap")
        (True, 0.001, 'kap')
    """
    if word in _WORDS:
        return _WORDS[word]
    if _INTEGER.fullmatch(word):
        return int(word, 0)
    if _OLD_FLAG.fullmatch(word):
        raise YamlError(f"{word!r} can be a word or a flag; write true or false, or put it in quotes", line)
    if _OLD_NUMBER.fullmatch(word):
        raise YamlError(
            f"{word[:80]!r} can be read in two ways; write a plain decimal number, or put it in quotes", line
        )
    if _NUMBER.fullmatch(word):
        value = float(word)
        if not value and vanishes(word):
            raise YamlError(
                f"{word[:80]!r} is closer to 0 than any number that can be stored; write 0 if that is meant",
                line,
            )
        return value
    special = _NO_NUMBER.fullmatch(word)
    if special:
        return float(word.replace(".", "").lower())
    return word


def dump(content: object) -> str:
    """Write plain data as YAML that `load` reads back, keys in their order.

    Args:
        content: plain data.

    Examples:
        >>> print(dump({"lr": 0.001, "name": "yes"}), end="")
        lr: 0.001
        name: "yes"
    """
    from ruamel.yaml import YAML

    writer = YAML(typ="rt", pure=True)
    writer.allow_unicode, writer.default_flow_style, writer.width = True, False, 100
    text = io.StringIO()
    writer.dump(_quoted(content), text)
    return text.getvalue()


def _quoted(value: object) -> object:
    """The same data, with quotes around text that would be read as something else without them."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, dict):
        return {_quoted(k): _quoted(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_quoted(v) for v in value]
    if not isinstance(value, str):
        return value
    try:
        same = resolved(value) == value
    except YamlError:
        same = False
    return value if same and value.isprintable() else DoubleQuotedScalarString(value)
