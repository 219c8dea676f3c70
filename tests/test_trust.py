"""docs/trust.md: every test that it names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "trust.md"


def named():
    """(file, test) of each line of the page; a name without a file is of the file before it."""
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        file = ""
        for text in re.findall(r"`([^` ]+)`", line.removesuffix(" |").rpartition(" | ")[2]):
            path, _, test = text.partition("::")
            file = path or file
            if file.endswith(".py"):
                found.append((file, test))
    return found


def test_the_page_names_tests():
    assert len(named()) > 50


@pytest.mark.parametrize(("file", "test"), named())
def test_every_test_that_the_page_names_is_there(file, test):
    assert not test or f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")
