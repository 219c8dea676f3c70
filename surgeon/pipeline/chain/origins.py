"""Reopen what a run was made from (images, weights, a model's folder) and compare it by content."""

from __future__ import annotations

import importlib.util
import json
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import nn

from surgeon.data import Sets, differing, load_sets
from surgeon.data.refusals import LIBRARY
from surgeon.disk.hashes import own_hash
from surgeon.errors import DataError
from surgeon.models.facts import input_size_of
from surgeon.pipeline.chain.checking import Misfit, Unknown, checked
from surgeon.pipeline.contents import IMAGES, made_from
from surgeon.recipe import Data
from surgeon.store.hub import is_hub
from surgeon.verification import Check


class Reader:
    """Opens what folders name. Images that several runs share are read once.

    Args:
        allowed: modules that folders may import.
    """

    def __init__(self, allowed: tuple[str, ...] = ()) -> None:
        self.allowed = allowed
        self._opened: tuple[Any, Sets] | None = None
        self._contents: tuple[Any, dict[str, Any]] | None = None

    def sets(self, settings: dict[str, Any], network: nn.Module | None) -> Sets:
        """The sets of a run's settings.

        Args:
            settings: the run's settings.
            network: the run's network, for the size of the images; or None.

        Raises:
            Unknown: the source is missing.
            DataError: the source cannot be read.
        """
        size = size_of(settings, network)
        key = _key(settings, size)
        if self._opened is None or self._opened[0] != key:
            demand_source(settings["data"], settings["root"])
            split = settings["seed"] if settings["split_seed"] is None else settings["split_seed"]
            how, root = Data.model_validate(settings["data_settings"]), settings["root"]
            try:
                sized = cast("tuple[int, int, int]", tuple(size))
                loaded = load_sets(settings["data"], how, input_size=sized, root=root, seed=split)
            except DataError as error:
                if settings["data"] == "digits" or Path(settings["data"]).exists():
                    raise
                raise Unknown(str(error)) from None  # a library's error, which does not say what is wrong
            self._opened = (key, loaded)
        return self._opened[1]

    def contents(self, settings: dict[str, Any], network: nn.Module | None) -> dict[str, Any]:
        """The contents of a run's sets, by name.

        Args:
            settings: the run's settings.
            network: the run's network, for the size of the images; or None.
        """
        sets = self.sets(settings, network)
        key = self._opened and self._opened[0]
        if self._contents is None or self._contents[0] != key:
            self._contents = (key, plain(made_from(sets, None, None)))
        return self._contents[1]


def source_checks(settings: dict[str, Any], network: nn.Module | None, reader: Reader) -> list[Check]:
    """The checks of a run's images, weights and model against the contents in its settings.

    Args:
        settings: the run's settings.
        network: the run's network, or None.
        reader: opens the images.
    """

    def same(name: str) -> str:
        return _same_images(settings, name, reader.contents(settings, network)[name])

    opened = checked("data", lambda: str(len(reader.contents(settings, network))))
    checks = [opened] if not opened.ok else [checked(f"data/{name}", partial(same, name)) for name in IMAGES]
    if settings["weights"]:
        checks.append(checked("weights", lambda: _same_weights(settings)))
    if settings["contents"]["model"]:
        checks.append(checked("model", lambda: _same_model(settings)))
    return checks


def demand_source(source: str, root: str | None) -> None:
    """Check that a source of images still exists.

    Args:
        source: the source.
        root: the folder that it needs, or None.

    Raises:
        Unknown: it is missing, or a package that reads it is.
    """
    if source == "digits":
        if not importlib.util.find_spec("sklearn"):
            raise Unknown("the digits need scikit-learn, which is not installed")
        return
    there = source.lower().startswith(LIBRARY) and root and Path(root).exists()
    if not there and not Path(source).exists():
        raise Unknown(f"{root or source} is no longer there")


def size_of(settings: dict[str, Any], network: nn.Module | None) -> tuple[int, ...]:
    """(C, H, W) of a run's images.

    Args:
        settings: the run's settings.
        network: the run's network, or None.

    Raises:
        Unknown: only a network states the size, and the folder holds no network.
    """
    if settings["input_size"]:
        return tuple(settings["input_size"])
    if network is None:
        raise Unknown("the images' size is the network's, which was not loaded")
    data_settings, size = Data.model_validate(settings["data_settings"]), input_size_of(network)
    if data_settings.size is not None:
        return (1 if data_settings.grayscale else (size or (3,))[0], *data_settings.size)
    return tuple(size or ())


def plain(value: Any) -> Any:
    """A value after a round trip through JSON, for comparison with what was read.

    Args:
        value: plain data.
    """
    return json.loads(json.dumps(value))


def _key(settings: dict[str, Any], size: tuple[int, ...]) -> str:
    names = ("data", "root", "data_settings")
    split = settings["seed"] if settings["split_seed"] is None else settings["split_seed"]
    return json.dumps([*(settings[n] for n in names), split, size])


def _same_images(settings: dict[str, Any], name: str, now: dict[str, Any] | None) -> str:
    before, source = settings["contents"][name], settings["data"]
    change = differing(before, now)
    if change:
        raise Misfit(f"{source} does not hold what it held: {change}")
    if now is None:
        return "none"
    return f"{now.get('images', 'a stream of')} images, {now['read']} of them read"


def _same_weights(settings: dict[str, Any]) -> str:
    path = Path(settings["weights"])
    if not path.is_file():
        raise Unknown(f"{path} is no longer there")
    if own_hash(path) != settings["contents"]["weights"]:
        raise Misfit(f"{path} is not the file that the run began with")
    return str(path)


def _same_model(settings: dict[str, Any]) -> str:
    name, known = settings["model"], settings["contents"]["model"]
    if is_hub(name):
        raise Unknown(f"{name} is a repository, which is not asked")
    if not Path(name).is_dir():
        raise Unknown(f"{name} is no longer there")
    changed = [
        n
        for n, wanted in known.items()
        if not (Path(name) / n).is_file() or own_hash(Path(name) / n) != wanted
    ]
    if changed:
        raise Misfit(f"{name} is not the network that the run began with: {', '.join(changed)}")
    return name
