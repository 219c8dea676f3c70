"""docs/trust.md: every promise has a test, and every test that it names is there and is collected."""

import ast
import fnmatch
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "trust.md"
PYTEST = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]


def rows():
    """(promise, what the page names as its tests) of each row of its tables."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and not line.startswith("| promise |"):
            promise, _, last = line.removeprefix("| ").removesuffix(" |").rpartition(" | ")
            yield promise, re.findall(r"`([^`]+)`", last)


def named():
    """(file, test) of each row; a name without a file is of the file before it in the row."""
    found = []
    for _, texts in rows():
        file = ""
        for text in texts:
            path, _, test = text.partition("::")
            file = path or file
            found.append((file, test))
    return sorted(set(found))


def collected(source):
    """The tests of a file that pytest runs: functions at its top, methods of classes; none that is always skipped."""
    tops = ast.parse(source).body
    inside = [f for c in tops if isinstance(c, ast.ClassDef) and c.name.startswith("Test") for f in c.body]
    return {
        f.name
        for f in (*tops, *inside)
        if isinstance(f, ast.FunctionDef)
        and f.name.startswith("test")
        and not any(map(_skips, f.decorator_list))
    }


def _skips(decorator):
    return ast.unparse(decorator).partition("(")[0] in ("pytest.mark.skip", "pytest.mark.xfail")


def test_every_promise_names_a_test():
    assert len(list(rows())) > 50
    assert [promise for promise, texts in rows() if not texts] == []


@pytest.mark.parametrize(("file", "test"), named())
def test_every_test_that_the_page_names_is_there_and_is_collected(file, test):
    path = ROOT / "tests" / file
    assert path.is_file() and path.relative_to(ROOT).parts[0] in PYTEST["testpaths"]
    assert fnmatch.fnmatch(path.name, "test_*.py") and "python_files" not in PYTEST
    tests = collected(path.read_text(encoding="utf-8"))
    assert test in tests if test else tests


def test_what_is_not_collected_is_seen():
    source = """
import pytest
def test_it(): pass
@pytest.mark.skip(reason="later")
def test_later(): pass
@pytest.mark.parametrize("x", [1])
def test_each(x): pass
def helper():
    def test_inside(): pass
class TestIt:
    def test_method(self): pass
class Other:
    def test_of_none(self): pass
"""
    assert collected(source) == {"test_it", "test_each", "test_method"}
