"""Docstrings of what is public say what goes in, what comes out and how it is used; their examples run as written."""

import ast
import dataclasses
import doctest
import functools
import importlib
import inspect
import sys
import textwrap
from pathlib import Path

import pytest

from surgeon import errors
from surgeon.errors import ArgumentError

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "site"))

import public  # noqa: E402  # docs/site/ is of the site's build, no package of this one

ANSWERED = "whoever writes an operation answers it, and surgeon asks: operations.md has an example"
WITHOUT_EXAMPLE = {
    "surgeon.methods.Observed": ANSWERED,
    "surgeon.methods.LeastSquares": ANSWERED,
}
"""Public classes and functions without an example, and why. Besides: classes of errors."""
METHODS_WITHOUT_EXAMPLE = {
    "surgeon.Operation": ANSWERED,
    "surgeon.methods.adversarial_noise.NoiseLayer": "a training step calls them: adversarial_noise has an example",
    "surgeon.evaluation.Store": "evaluate calls them: the example of the class is a whole evaluation",
}
"""Classes some of whose methods have none, and why. Besides: `reset_parameters`, which torch's code calls."""


def with_examples():
    for path in sorted((ROOT / "surgeon").rglob("*.py")):
        if "    >>> " in path.read_text():
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("name", list(with_examples()))
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # examples that write do it there
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    done = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert not done.failed


def own_doc(value):
    """The docstring that stands at a function or class itself."""
    return inspect.cleandoc(
        vars(value).get("__doc__") or "" if inspect.isclass(value) else value.__doc__ or ""
    )


@functools.cache
def public_objects():
    """Name → function or class of surgeon, each once, under the first name that the reference shows it by."""
    found, seen = {}, set()
    for package in public.DOCUMENTED:
        module = importlib.import_module(package)
        for name in public.names(package):
            value = inspect.unwrap(v) if callable(v := getattr(module, name)) else v
            if not inspect.isfunction(value) and not inspect.isclass(value):
                continue
            if value in seen or not value.__module__.startswith("surgeon"):
                continue
            seen.add(value)
            found[f"{package}.{name}"] = value
    return found


def members(cls):
    """(name, function, kind) of the public methods and properties that a class defines."""
    fields = getattr(cls, "__dataclass_fields__", {})
    for name, value in vars(cls).items():
        if name.startswith("_") or name in fields:
            continue
        if isinstance(value, (property, functools.cached_property)):
            yield name, value.fget if isinstance(value, property) else value.func, "property"
        elif isinstance(value, (classmethod, staticmethod)) or inspect.isfunction(value):
            yield name, getattr(value, "__func__", value), "method"


def raised(function):
    """The errors of surgeon that a function raises by itself."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = [n.exc.func for n in ast.walk(tree) if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call)]
    return {c.id for c in calls if isinstance(c, ast.Name) and hasattr(errors, c.id)}


def lacks_sections(name, function, told):
    """What the docstring of a function does not say: sections, arguments of the signature, and its own errors."""
    signature = inspect.signature(function)
    arguments = [
        a
        for a, p in signature.parameters.items()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and a not in ("self", "cls")
    ]
    lacks = [f"Args: {a}" for a in arguments if f"{a}:" not in told and f"{a}, " not in told]
    if arguments and "Args:" not in told:
        lacks.append("Args")
    silent = signature.return_annotation in (None, "None", "NoReturn", inspect.Signature.empty)
    if not silent and "Returns:" not in told and "Yields:" not in told:
        lacks.append("Returns")
    lacks += [f"Raises: {error}" for error in sorted(raised(function)) if error not in told]
    return lacks if told else ["a docstring"]


def lacks_of_class(name, cls):
    """What a class and its members do not say. What overrides a method of a base class may leave all of it to that."""
    told = own_doc(cls)
    if not told:
        yield f"{name}: a docstring"
    if "__init__" in vars(cls) and not dataclasses.is_dataclass(cls) and not issubclass(cls, Exception):
        yield from (f"{name}: {lack}" for lack in lacks_sections(name, cls.__init__, told))
    if ">>> " not in told and not issubclass(cls, Exception) and name not in WITHOUT_EXAMPLE:
        yield f"{name}: an example"
    for member, function, kind in members(cls):
        if any(hasattr(base, member) for base in cls.__mro__[1:]):
            continue
        whole, said = f"{name}.{member}", own_doc(function)
        lacks = lacks_sections(whole, function, said) if kind == "method" else [] if said else ["a docstring"]
        shown = ">>> " in said or f".{member}(" in told or member == "reset_parameters"
        if kind == "method" and not shown and name not in METHODS_WITHOUT_EXAMPLE:
            lacks.append("an example")
        yield from (f"{whole}: {lack}" for lack in lacks)


@pytest.mark.parametrize("package", public.DOCUMENTED)
def test_what_is_public_is_told(package):
    """Functions: every argument, what is returned, an example. Classes: the same of their constructor and methods."""
    lacking = []
    for name, value in public_objects().items():
        if name.rpartition(".")[0] != package:
            continue
        if inspect.isclass(value):
            lacking += lacks_of_class(name, value)
        else:
            told = own_doc(value)
            lacking += [f"{name}: {lack}" for lack in lacks_sections(name, value, told)]
            lacking += [] if ">>> " in told or name in WITHOUT_EXAMPLE else [f"{name}: an example"]
    assert not lacking, "\n".join(lacking)


def test_the_lists_of_exceptions_have_nothing_needless():
    there = public_objects()
    assert not [n for n in WITHOUT_EXAMPLE if n not in there or ">>> " in own_doc(there[n])]
    for name in METHODS_WITHOUT_EXAMPLE:
        said = [own_doc(f) for _, f, kind in members(there[name]) if kind == "method"]
        assert any(">>> " not in told for told in said), name


def test_the_rule_sees_what_lacks():
    def silent(count: int) -> int: ...

    def half(count: int) -> int:
        """Halve.

        Args:
            count: A number.
        """
        if count % 2:
            raise ArgumentError(count)
        return count // 2

    class Quiet:
        def run(self, count):
            """Run."""

    assert lacks_sections("silent", silent, own_doc(silent)) == ["a docstring"]
    assert lacks_sections("half", half, own_doc(half)) == ["Returns", "Raises: ArgumentError"]
    assert list(lacks_of_class("Quiet", Quiet)) == [
        "Quiet: a docstring",
        "Quiet: an example",
        "Quiet.run: Args: count",
        "Quiet.run: Args",
        "Quiet.run: an example",
    ]
