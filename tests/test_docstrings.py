"""Docstrings of public functions name their arguments, and their examples run as written."""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


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


def functions():
    import surgeon

    for name in surgeon.__all__:
        value = getattr(surgeon, name)
        if inspect.isfunction(value):
            yield f"surgeon.{name}", value
    for package in (
        "surgeon.evaluation",
        "surgeon.training",
        "surgeon.insight",
        "surgeon.pipeline",
        "surgeon.models",
    ):
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value):
                yield f"{package}.{name}", value


@pytest.mark.parametrize("name, function", [pytest.param(n, f, id=n) for n, f in functions()])
def test_each_argument_is_told(name, function):
    signature = inspect.signature(function)
    told = inspect.getdoc(function) or ""
    missing = [
        a
        for a, p in signature.parameters.items()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        and f"{a}:" not in told
        and f"{a} (" not in told
        and f"{a}, " not in told
    ]
    assert not missing, f"{name}: {missing}"
    assert not signature.parameters or "Args:" in told, name
    says = "Returns:" in told or "Yields:" in told or told.startswith("Whether ")
    assert says or signature.return_annotation in (None, "None"), name
