"""Python blocks of the pages are run: `pytest docs`, part of `make docs`. The blocks of a page share one namespace.

A block that is not to be run has `<!-- skip: next "why" -->` in front of it.
"""

from __future__ import annotations

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

try:
    from sybil import Sybil
    from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
except ImportError:  # of the extra `docs`
    collect_ignore_glob = ["*"]
else:
    pages = Sybil(
        [PythonCodeBlockParser(), SkipParser()],
        patterns=["*.md", "**/*.md"],
        setup=lambda _: _in_a_new_folder(),
    )
    pytest_collect_file = pages.pytest()


def _in_a_new_folder() -> None:
    import tempfile

    os.chdir(tempfile.mkdtemp())
