"""Export a network to one file for other runtimes: ONNX, or torch's exported program.

What folds is folded first, so that the file uses stock operators where it can. The file is checked before
it appears. Neither format needs surgeon to run.
"""

from surgeon.store.exporting.description import metadata
from surgeon.store.exporting.file import Exported, export
from surgeon.store.exporting.request import FORMATS, SUFFIXES, Format

__all__ = ["FORMATS", "SUFFIXES", "Exported", "Format", "export", "metadata"]
