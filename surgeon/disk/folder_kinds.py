"""What surgeon wrote into a folder that holds no network, and what to do with it. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from surgeon.errors import either

NETWORK, WEIGHTS, ORIGINAL = "config.json", "model.safetensors", "original.safetensors"
"""The files of a network's folder."""


def instead(folder: str | Path) -> str:
    """A clause on what a folder without a network holds, and which function or command takes it.

    Args:
        folder: the folder.

    Returns:
        The clause; '' where nothing is recognised.
    """
    path = Path(folder)
    for holds, words in _KINDS:
        if holds(path):
            return words(path)
    return ""


def _run(path: Path) -> str:
    return f"is a run; its network is {path / 'trained'}"


def _evaluation(path: Path) -> str:
    page = either(f"surgeon.report.report(['{path}'], 'page.html')", f"surgeon report {path} -o page.html")
    return f"is an evaluation, no network: {page} shows it; to evaluate again, give the network's folder"


def _study(path: Path) -> str:
    page = either(f"surgeon.report.report(['{path}'], 'page.html')", f"surgeon report {path} -o page.html")
    return f"is a study of several networks: {page} shows it; {_networks(path, '*/*')}"


def _reproduction(path: Path) -> str:
    return f"is a reproduction of several networks: {path / 'report.html'} shows it; {_networks(path, 'work/*/*')}"


def _conversions(path: Path) -> str:
    return f"holds several conversions; {_networks(path, '*')}"


def _demo(path: Path) -> str:
    return f"is what the demo wrote; {_networks(path, 'models/*')}"


def _begun(path: Path) -> str:
    return (
        "is a run that is not finished: run the same command again; its network before the "
        f"training is {path / 'cut'}"
    )


def _holds_networks(path: Path) -> bool:
    return any(next(path.glob(f"{p}/{NETWORK}"), None) for p in ("*", "*/trained"))


def _shelf(path: Path) -> str:
    return f"is not a model folder: it has no {NETWORK}; {_networks(path, '*')}"


def _inside(path: Path) -> str:
    return f"is a part of a run; its network is {path.parent / 'trained'}"


def _networks(path: Path, pattern: str) -> str:
    """A clause on where a folder's networks are."""
    networks = sorted(
        p.parent for below in ("", "/trained") for p in path.glob(f"{pattern}{below}/{NETWORK}")
    )
    if not networks:
        return "no network is in it yet"
    return f"its networks are {', '.join(map(str, networks[:3]))}{', …' if len(networks) > 3 else ''}"


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda path: all((path / name).exists() for name in names)


_KINDS: tuple[tuple[Callable[[Path], bool], Callable[[Path], str]], ...] = (
    (_has(f"trained/{NETWORK}"), _run),
    (_has(f"cut/{NETWORK}", "settings.json"), _begun),
    (_has("study.json"), _study),
    (_has("protocol.json", "work"), _reproduction),
    (_has("evaluation.json"), _evaluation),
    (_has("settings.json", "attacks"), _evaluation),
    (_has("conversions.json"), _conversions),
    (_has("table.json", "models"), _demo),
    (_has(f"../trained/{NETWORK}", "../settings.json"), _inside),
    (_holds_networks, _shelf),
)
