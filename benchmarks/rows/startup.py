"""How long the command line and the package take to start, against importing torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.timing import Asked, Comparison, Row, Task


def measure(asked: Asked) -> Iterator[Row]:
    """Each in a process of its own."""
    help_text = "import sys; sys.argv = ['surgeon', '--help']; from surgeon.cli import main; main()"
    yield from Comparison(
        "start",
        'python -c "import torch"',
        _python("import torch"),
        {
            "surgeon --help": _python(help_text),
            "import surgeon": _python("import surgeon"),
            "import surgeon; surgeon.apply": _python("import surgeon; surgeon.apply"),
        },
        1 if asked.small else min(asked.repeats, 5),
    ).rows()


def _python(code: str) -> Task:
    def run() -> None:
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)

    return run
