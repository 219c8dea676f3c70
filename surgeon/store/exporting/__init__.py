"""A network as one file for other runtimes: ONNX, or an exported program of torch; checked before it appears.

What folds is folded first, so that the file has the stock network's operators where it can. Neither kind of file
needs surgeon to be run.
"""

from surgeon.store.exporting.description import metadata
from surgeon.store.exporting.file import Exported, export
from surgeon.store.exporting.request import FORMATS, SUFFIXES, Format

__all__ = ["FORMATS", "SUFFIXES", "Exported", "Format", "export", "metadata"]
