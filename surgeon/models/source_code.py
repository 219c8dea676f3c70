"""The source code that a network is written in, where that is nobody's installed package.

The weights of two networks may be equal while a line of their `forward` is not.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import FunctionType

from torch import nn

_PYTHONS = tuple(Path(sysconfig.get_paths()[name]).resolve() for name in ("stdlib", "platstdlib"))
_INSTALLED = {"site-packages", "dist-packages"}
_OURS = Path(__file__).resolve().parents[1]
_Place = tuple[str, str]
"""A Python module, and a name at its top."""


def code_of(model: nn.Module) -> dict[str, str]:
    """Hash the source that a network's modules are computed by: their classes, and what those use.

    Followed are functions, classes and values at the top of Python files, by the names in the source. Installed
    packages are left out: a record has the versions of those that matter. So is what has no file, such as a
    notebook's cell.

    Args:
        model: The network, before or after a surgery.

    Returns:
        Hash by the name of the Python module, such as `mine.nets`. Comments and empty lines do not count.
    """
    files: dict[str, _File | None] = {}
    parts: dict[str, dict[str, str]] = {}
    ahead = [place for module in model.modules() for place in _of(module)]
    seen = set(ahead)
    while ahead:
        name, top = ahead.pop()
        if name not in files:
            files[name] = _File.of(name)
        file = files[name]
        if file is None:
            continue
        if source := file.source(top):
            parts.setdefault(name, {})[top] = source
        further = set(file.used_by(top)) - seen
        seen |= further
        ahead += further
    return {
        name: _hash("\n".join(by_top[t] for t in sorted(by_top))) for name, by_top in sorted(parts.items())
    }


def changed_code(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """List the Python modules whose source is another than it was.

    Args:
        before: Hashes of `code_of`.
        now: Hashes of `code_of`; where it has none, as in a notebook, nothing is known to differ.

    Returns:
        Names of `before`. The same source in a module of another name is the same.
    """
    return [n for n, digest in before.items() if now and digest not in (now.get(n), *_moved(before, now))]


def _moved(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [digest for name, digest in now.items() if name not in before]


def _of(module: nn.Module) -> Iterator[_Place]:
    """Where the classes of a module are defined, and functions that it holds."""
    held = [v for v in vars(module).values() if isinstance(v, FunctionType)]
    things: list[type | FunctionType] = [*type(module).__mro__, *held]
    for thing in things:
        yield thing.__module__, thing.__qualname__.partition(".")[0]


class _File:
    """The source file of a Python module of no installed package."""

    def __init__(self, module: str, package: str, text: str) -> None:
        self.module, self.package, self.lines = module, package, text.splitlines()
        self.tree = ast.parse(text)

    @classmethod
    def of(cls, module: str) -> _File | None:
        """Read the file of an imported module; None of an installed one, or one without a readable file."""
        imported = sys.modules.get(module)
        file = getattr(imported, "__file__", None)
        if file is None or not file.endswith(".py"):
            return None
        place = Path(file).resolve()
        if _INSTALLED & set(place.parts) or any(place.is_relative_to(f) for f in (*_PYTHONS, _OURS)):
            return None
        try:
            return cls(
                module, getattr(imported, "__package__", None) or "", place.read_text(encoding="utf-8")
            )
        except (OSError, UnicodeDecodeError, SyntaxError):
            return None

    @cached_property
    def statements(self) -> dict[str, list[ast.stmt]]:
        """The statements at the top of the file that bind a name, but for imports."""
        by_name: dict[str, list[ast.stmt]] = {}
        for statement in self.tree.body:
            if not isinstance(statement, (ast.Import, ast.ImportFrom)):
                for name in set(_bound(statement)):
                    by_name.setdefault(name, []).append(statement)
        return by_name

    @cached_property
    def imports(self) -> dict[str, _Place]:
        """What imports bind, wherever they stand: name → (module, name in it; "" for the module itself)."""
        by_name: dict[str, _Place] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    by_name[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0],
                        "",
                    )
            elif isinstance(node, ast.ImportFrom):
                origin = self._absolute(node)
                for alias in node.names:
                    whole = f"{origin}.{alias.name}"
                    by_name[alias.asname or alias.name] = (
                        (whole, "") if whole in sys.modules else (origin, alias.name)
                    )
        return by_name

    def source(self, top: str) -> str:
        """The source of what binds a name at the top of the file, and from where the names in it come."""
        own = [
            line for s in self.statements.get(top, ()) for line in self.lines[_first(s) - 1 : s.end_lineno]
        ]
        used = {n.id for s in self.statements.get(top, ()) for n in ast.walk(s) if isinstance(n, ast.Name)}
        if not own:
            used = {top}  # a module that passes it on
        return "\n".join(
            [*own, *(f"{n} of {'.'.join(self.imports[n])}" for n in sorted(used & self.imports.keys()))]
        )

    def used_by(self, top: str) -> Iterator[_Place]:
        """The places of what a name at the top of the file is computed by."""
        if top in self.imports and top not in self.statements:  # a module that passes it on
            yield self.imports[top]
        for statement in self.statements.get(top, ()):
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and node.id in self.statements:
                    yield self.module, node.id
                elif isinstance(node, ast.Name) and node.id in self.imports:
                    yield self.imports[node.id]
                elif isinstance(node, ast.Attribute):
                    yield from self._attribute(node)

    def _attribute(self, node: ast.Attribute) -> Iterator[_Place]:
        """Of `layers.act` or `package.layers.act`: the module, and the name in it."""
        path = ast.unparse(node).split(".")
        if path[0] in self.imports and not self.imports[path[0]][1]:
            module = ".".join((self.imports[path[0]][0], *path[1:-1]))
            yield module, path[-1]

    def _absolute(self, node: ast.ImportFrom) -> str:
        dotted = "." * node.level + (node.module or "")
        if not node.level:
            return dotted
        try:
            return importlib.util.resolve_name(dotted, self.package)
        except ImportError:
            return dotted


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement binds in the scope that it stands in."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
        return
    ahead: list[ast.AST] = [statement]
    while ahead:
        node = ahead.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                yield child.name
            else:
                ahead.append(child)


def _first(statement: ast.stmt) -> int:
    """The first line of a statement, with its decorators."""
    return min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))])


def _hash(text: str) -> str:
    lines = (line.rstrip() for line in text.splitlines())
    kept = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return hashlib.blake2b("\n".join(kept).encode(), digest_size=8).hexdigest()
