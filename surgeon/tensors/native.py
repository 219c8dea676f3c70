"""Compiled code for the CPU: C sources of this package, made by the machine's C compiler when they are first used.

Where there is no compiler, or `SURGEON_NATIVE=off` is set, layers use torch's operations, which give the same numbers
up to rounding.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import math
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from surgeon.tensors.recording import plain
from surgeon.warned import warn

Functions = dict[str, Callable[..., int]]

SWITCH = "SURGEON_NATIVE"
"""The environment variable that turns compiled code off."""

_FLAGS = {
    "AVX512": ("-mavx512f", "-mavx512cd", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma"),
    "AVX2": ("-mavx2", "-mfma"),
}
_ALL = (
    "-O3",
    "-std=gnu11",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp",
    "-fPIC",
    "-Wno-psabi",
)
_SECONDS = 120
_BUILDING, _OLD = ".building-", 3600.0
"""How folders are called in which a library is made, and after how many seconds nobody makes it any longer."""


def functions_of(source: Path, users: str, declared: Callable[[ctypes.CDLL], Functions]) -> Functions | None:
    """Load functions of a C source. A warning says why they are not there, where a compiler is.

    Args:
        source: The file, of this package.
        users: What uses them, for the warning.
        declared: Says their arguments, and raises OSError where they are wrong.

    Returns:
        Functions by name, or None.
    """
    try:
        code = compiled(source)
        with torch.autocast("cpu", enabled=False), torch.no_grad():
            return None if code is None else declared(code)
    except (OSError, AttributeError) as error:
        warn(
            f"{users} run without compiled code, which is slower, since it cannot be made here: {error}. "
            f"{SWITCH}=off leaves this out"
        )
        return None


def compiled(source: Path) -> ctypes.CDLL | None:
    """Load the library of a C source, which is compiled where the user's cache does not have it.

    The vector instructions are those that torch uses (`ATEN_CPU_CAPABILITY`), and so are the threads: OpenMP is left
    for the running process to provide, where torch has loaded one.

    Args:
        source: The file, of this package.

    Returns:
        The library, or None where it is turned off, or nothing can compile it here.

    Raises:
        OSError: There is a compiler, and the library could not be made or loaded; the message says why.
    """
    flags = _FLAGS.get(torch.backends.cpu.get_cpu_capability())
    if flags is None or platform.system() != "Linux" or turned_off():
        return None
    text = source.read_bytes()
    key = hashlib.sha256(b"\0".join([text, *(f.encode() for f in _ALL + flags)])).hexdigest()[:32]
    folder, name = _own_cache(), f"{source.stem}-{key}"
    for kept in () if folder is None else _kept(folder, name):
        # It cannot be loaded where it was made beside other libraries, or in a place that nothing is run from.
        with contextlib.suppress(OSError):
            return ctypes.CDLL(str(kept))
    compiler = _compiler()
    if compiler is None:
        return None
    try:
        if folder is not None:
            return _made(compiler, flags, source, folder, name)
    except OSError:  # a full disk, or a place that nothing is run from: a temporary folder may be better
        pass
    return _made(compiler, flags, source)


def _made(
    compiler: list[str], flags: tuple[str, ...], source: Path, folder: Path | None = None, name: str = ""
) -> ctypes.CDLL:
    """Compile and load a source, and keep the library in a folder."""
    with tempfile.TemporaryDirectory(prefix=_BUILDING, dir=folder) as place:
        code = Path(place) / "code.o"
        _run([*compiler, *_ALL, *flags, "-c", str(source), "-o", str(code)])
        # Linked without OpenMP, its calls go to the one that torch has loaded; where torch shows none, to another.
        for openmp in ([], ["-fopenmp"]):
            made = Path(place) / f"code{len(openmp)}.so"
            _run([*compiler, "-shared", str(code), *openmp, "-o", str(made)])
            try:
                library = ctypes.CDLL(str(made))
            except OSError as error:
                if openmp:
                    raise OSError(f"what {compiler[-1]} made cannot be loaded: {error}") from error
                continue
            if folder is not None:
                with contextlib.suppress(OSError):
                    made.chmod(0o700)
                    made.replace(folder / f"{name}-{_sum(made)}.so")
            return library
    raise AssertionError


def takes(*tensors: Tensor) -> bool:
    """Say whether compiled code may compute with tensors.

    Args:
        *tensors: The tensors.

    Returns:
        True for float32 on the CPU in plain memory, eager, outside compile, export and functorch.
    """
    return all(
        t.device.type == "cpu" and t.dtype == torch.float32 and t.layout == torch.strided for t in tensors
    ) and plain(*tensors)


def numbers(*shape: int) -> Tensor:
    """Return numbers of [-1, 1] on the CPU, whatever torch makes by default, to try a function with.

    Args:
        *shape: Shape.

    Returns:
        The tensor, float32.
    """
    return torch.arange(math.prod(shape), dtype=torch.float32, device="cpu").sin().view(shape)


def blank(*shape: int) -> Tensor:
    """Return NaN on the CPU, which a function has to overwrite.

    Args:
        *shape: Shape.

    Returns:
        The tensor, float32.
    """
    return torch.full(shape, math.nan, dtype=torch.float32, device="cpu")


def turned_off() -> bool:
    """Say whether the environment turns compiled code off.

    Returns:
        Whether it does.
    """
    return os.environ.get(SWITCH, "").lower() in ("off", "0", "no", "false")


def _compiler() -> list[str] | None:
    """The C compiler that `CC` names, or the machine's; None without one.

    Options in `CC` are left out: some change what arithmetic means in the whole process (-ffast-math).
    """
    try:
        named = [word for word in shlex.split(os.environ.get("CC", "")) if not word.startswith("-")]
    except ValueError as error:
        raise OSError(f"CC={os.environ['CC']!r} is not a command: {error}") from error
    if named:
        return named if shutil.which(named[0]) else None
    return next(([path] for name in ("gcc", "cc") if (path := shutil.which(name))), None)


def _run(step: list[str]) -> None:
    """Run the compiler, or raise OSError with what it said."""
    try:
        done = subprocess.run(
            step, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"{step[0]} took over {_SECONDS} seconds") from None
    if done.returncode:
        said = done.stderr.splitlines()
        why = next((line for line in said if "error" in line), said[0] if said else "it said nothing")[:200]
        why = "".join(c if c.isprintable() else "?" for c in why)
        raise OSError(f"{step[0]} ended with {done.returncode}: {why}")
    if not Path(step[-1]).is_file():
        raise OSError(f"{step[0]} made no file")


def _own_cache() -> Path | None:
    """The folder that keeps libraries; None where others may write to it, or it cannot be made."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        folder = (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "surgeon" / "native"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _own(folder):
            return None
        for left in folder.glob(f"{_BUILDING}*"):  # of a process that was killed
            if time.time() - left.stat().st_mtime > _OLD:
                shutil.rmtree(left, ignore_errors=True)
        return folder
    except (OSError, RuntimeError):  # read-only, or no home
        return None


def _own(path: Path) -> bool:
    """Say whether a file or a folder is this user's, and nobody else may write to it."""
    seen = path.lstat()
    return (
        seen.st_uid == os.getuid()
        and not seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        and not path.is_symlink()
    )


def _kept(folder: Path, name: str) -> list[Path]:
    """The libraries in the cache whose names end with the hash of what they hold."""
    return [p for p in sorted(folder.glob(f"{name}-*.so")) if _own(p) and p.name == f"{name}-{_sum(p)}.so"]


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]
