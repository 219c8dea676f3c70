"""How long the command line and the package take to start, against importing torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.timing import Asked, Row, Task, compare


def measure(asked: Asked) -> Iterator[Row]:
    """Each in a process of its own."""
    yield from compare(
        "start",
        'python -c "import torch"',
        _python("import torch"),
        {
            "surgeon --help": (
                _python("import sys; sys.argv = ['surgeon', '--help']; from surgeon.cli import main; main()"),
                0.3,
            ),
            "import surgeon": (_python("import surgeon"), 1.3),
            "import surgeon; surgeon.apply": (_python("import surgeon; surgeon.apply"), None),
        },
        1 if asked.small else min(asked.repeats, 5),
    )


def _python(code: str) -> Task:
    def run() -> None:
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)

    return run
