"""Marks of tests go by their file's path below tests/; what lies elsewhere has no mark."""

from pathlib import Path
from types import SimpleNamespace

from tests import conftest


def marked(path, name="test_it"):
    marks = []
    item = SimpleNamespace(path=path, name=name, add_marker=marks.append)
    conftest.pytest_collection_modifyitems([item])
    return marks


def test_a_file_is_marked_by_its_place_and_examples_in_docstrings_are_not():
    here = Path(conftest.__file__).parent
    assert marked(here / "methods" / "test_kap.py") == ["numeric"]
    assert marked(here / "interop" / "test_distributed.py") == ["numeric", "processes"]
    assert marked(here / "test_marks.py") == []
    assert marked(here.parent / "surgeon" / "methods" / "kap" / "maths.py") == []
