"""The processes that run one command together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

from surgeon.errors import MissingPackageError


@contextlib.contextmanager
def processes() -> Iterator[bool]:
    """Whether this process is the first of those that run the command; on leaving, their group is ended."""
    try:
        from accelerate import PartialState
    except ImportError:
        raise MissingPackageError("this needs accelerate: pip install 'fx-surgeon[train]'") from None
    import torch

    cpu = not torch.cuda.is_available()
    # The first process alone may be long at diagnostics.
    state = PartialState(cpu=cpu, timeout=timedelta(days=7))
    try:
        yield state.is_main_process
        state.wait_for_everyone()
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
