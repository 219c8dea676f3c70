"""Networks of RobustBench's model zoo, `robustbench:DATASET/THREAT/NAME`, from weights that are at hand.

The package `robustbench` builds the network and reads its weights. It would download what is missing; here
that is an error which names the file. Its networks take pixels in [0, 1] and normalise them inside, whatever
the configuration of a timm network among them says, so that their configuration here states no normalisation.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from surgeon.errors import ArtifactError, MissingPackageError, ModelError, either, nearest

if TYPE_CHECKING:
    from torch import nn

SCHEME = "robustbench:"
FOLDER = "models"
"""Where RobustBench keeps weights, below the present folder."""
SIZES = {"cifar10": (3, 32, 32), "cifar100": (3, 32, 32), "imagenet": (3, 224, 224)}
CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}
_THREATS = ("Linf", "L2", "corruptions")
_NORMALISATION = ("mean", "std")

Zoo = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
"""Data set → threat model → name → entry."""


class Entry(NamedTuple):
    """One network of the zoo.

    Attributes:
        dataset: "cifar10", "cifar100" or "imagenet".
        threat: "Linf", "L2" or "corruptions".
        name: its name there.
        given: what RobustBench says of it: a builder, and where it would download its weights from.
    """

    dataset: str
    threat: str
    name: str
    given: Mapping[str, Any]

    @property
    def full(self) -> str:
        """The name that `create_model` takes."""
        return f"{SCHEME}{self.dataset}/{self.threat}/{self.name}"


def is_robustbench(name: str) -> bool:
    """Whether a model's name refers to RobustBench's model zoo.

    Args:
        name: a model's name.

    Examples:
        >>> is_robustbench("robustbench:cifar10/Linf/Carmon2019Unlabeled"), is_robustbench("resnet18")
        (True, False)
    """
    return name.startswith(SCHEME)


def names() -> list[str]:
    """The names of all networks that the installed package has.

    Raises:
        MissingPackageError: the package is not installed, or cannot be imported.
    """
    zoo = _zoo()
    return [
        Entry(d, t, n, e).full
        for d, threats in zoo.items()
        for t, entries in threats.items()
        for n, e in entries.items()
    ]


def build(name: str, args: Mapping[str, Any], *, weights: bool = True) -> tuple[nn.Module, Entry]:
    """Build a network of the zoo, in evaluation mode. Nothing is downloaded, and no pickled code is executed.

    Args:
        name: `robustbench:DATASET/THREAT/NAME`, or `robustbench:NAME` where only one network is so called.
        args: `model_dir`: the folder of RobustBench's models, by default `models`.
        weights: load the weights `model_dir/DATASET/THREAT/NAME.pt`. Those that RobustBench has from timm or
            torchvision are taken from torch's cache.

    Returns:
        The network and its entry.

    Raises:
        MissingPackageError: the package `robustbench` is not installed, or cannot be imported.
        ModelError: the name is unknown, or an argument is.
        ArtifactError: the weights are not there, or do not fit.
    """
    place = Path(str(args.get("model_dir", FOLDER))).absolute()
    other = [k for k in args if k != "model_dir"]
    if other:
        raise ModelError(f"{name} takes no argument {other[0]!r}; model_dir is the folder of its weights")
    entry = _entry(name, _zoo())
    utils = importlib.import_module("robustbench.utils")
    missing = [p for p in _files(entry, place) if not p.is_file()] if weights else []
    if missing:
        raise ArtifactError(_absent(entry, missing[0], place))
    with _offline(entry, utils):
        try:
            if weights:
                model = utils.load_model(
                    entry.name, model_dir=str(place), dataset=entry.dataset, threat_model=entry.threat
                )
            else:
                model = _bare(entry)
        except ArtifactError:
            raise
        except pickle.UnpicklingError as error:
            raise ArtifactError(
                f"{entry.full}: its file in {place} holds more than tensors and plain data, which would run "
                "code on reading; nothing in it was executed"
            ) from error
        except Exception as error:  # libraries raise anything on weights that do not fit
            text = " ".join(str(error).split())[:300] or type(error).__name__
            raise ArtifactError(f"{entry.full} cannot be loaded from {place}: {text}") from error
    _drop_normalisation(model)
    return model.eval(), entry


def _zoo() -> Zoo:
    """The entries of the installed package, by plain words in place of its enumerations."""
    try:
        models = importlib.import_module("robustbench.model_zoo").model_dicts
    except ImportError as error:
        raise MissingPackageError(_no_package(error)) from error
    return {
        _word(d): {_word(t): dict(entries) for t, entries in threats.items()} for d, threats in models.items()
    }


def _word(key: object) -> str:
    return str(getattr(key, "value", key))


def _no_package(error: ImportError) -> str:
    if _installed() is None and getattr(error, "name", "") == "robustbench":
        return (
            "networks of RobustBench need its package: "
            "pip install git+https://github.com/RobustBench/robustbench.git"
        )
    return (
        f"the package robustbench{_version()} cannot be imported ({error}): install what it lacks, or "
        "pip install git+https://github.com/RobustBench/robustbench.git"
    )


def _installed() -> str | None:
    try:
        return importlib.metadata.version("robustbench")
    except importlib.metadata.PackageNotFoundError:
        return None


def _version() -> str:
    """The version of the package for messages; torchattacks brings an old copy without a version."""
    version = _installed()
    return f" {version}" if version else " (the old copy that torchattacks brings)"


def _entry(name: str, zoo: Zoo) -> Entry:
    """The entry that a name means.

    Raises:
        ModelError: no entry, or several have the name.
    """
    rest = name.removeprefix(SCHEME)
    every = [Entry(d, t, n, e) for d, ts in zoo.items() for t, es in ts.items() for n, e in es.items()]
    parts = rest.split("/")
    if len(parts) not in (1, 3):
        raise ModelError(
            f"{name!r} is not one of RobustBench's: write robustbench:DATASET/THREAT/NAME, DATASET one of "
            f"{', '.join(SIZES)}, THREAT one of {', '.join(_THREATS)}"
        )
    matching = [e for e in every if rest in (e.name, e.full.removeprefix(SCHEME))]
    if len(matching) > 1:
        raise ModelError(f"{name} is one of several: {', '.join(e.full for e in matching)}")
    if matching:
        return matching[0]
    known = [e.name if len(parts) == 1 else e.full.removeprefix(SCHEME) for e in every]
    raise ModelError(
        f"RobustBench's package{_version()} has no {rest!r}; {nearest(rest, dict.fromkeys(known))}"
    )


def _files(entry: Entry, place: Path) -> list[Path]:
    """The files that RobustBench reads an entry's weights from; empty where a library has them."""
    import timm

    given = entry.given.get("gdrive_id")
    as_timm = f"{entry.name.lower().replace('-', '_')}_{entry.dataset}_{entry.threat.lower()}"
    if not given or timm.is_model(as_timm) or (entry.dataset == "imagenet" and "Standard" in entry.name):
        return []
    file = place / entry.dataset / entry.threat / f"{entry.name}.pt"
    return (
        [Path(f"{file}_m{i}.pt") for i in range(len(given))] if isinstance(given, (list, tuple)) else [file]
    )


def _absent(entry: Entry, file: Path | str, place: Path | None = None) -> str:
    """The message for weights that are not there; `place` is the folder that the caller may choose."""
    other = either('model_args={"model_dir": …}', "--model-arg model_dir=FOLDER")
    hint = f"put them there, or name another folder than {place} by {other}" if place else "put them there"
    return f"{entry.full}: its weights are not at {file}, and nothing is downloaded; {hint}"


@contextlib.contextmanager
def _offline(entry: Entry, utils: Any) -> Iterator[None]:
    """Inside, what RobustBench, torch and timm would download is an ArtifactError that names the file."""
    import huggingface_hub.constants
    import timm.models._hub
    import torch.hub

    def refuse(_from: Any, to: Any = "", *args: Any, **kwargs: Any) -> NoReturn:
        raise ArtifactError(_absent(entry, to or kwargs.get("fname_save") or kwargs.get("dst") or _from))

    places: list[tuple[Any, str, Any]] = [
        (torch.hub, "download_url_to_file", refuse),
        (timm.models._hub, "download_url_to_file", refuse),
        (utils, "download_gdrive", refuse),
        (utils, "download_gdrive_new", refuse),
        (huggingface_hub.constants, "HF_HUB_OFFLINE", True),
    ]
    places = [(module, name, value) for module, name, value in places if hasattr(module, name)]
    old = [getattr(module, name) for module, name, _ in places]
    try:
        for module, name, value in places:
            setattr(module, name, value)
        with contextlib.redirect_stdout(io.StringIO()):  # torch says that it downloads before it does
            yield
    finally:
        for (module, name, _), value in zip(places, old, strict=True):
            setattr(module, name, value)


def _bare(entry: Entry) -> nn.Module:
    """The network without its weights, for a folder that has them."""
    import timm

    as_timm = f"{entry.name.lower().replace('-', '_')}_{entry.dataset}_{entry.threat.lower()}"
    if timm.is_model(as_timm):
        return timm.create_model(as_timm, num_classes=CLASSES[entry.dataset])
    builder: Callable[[], nn.Module] = entry.given["model"]
    return builder()


def _drop_normalisation(model: nn.Module) -> None:
    """Take mean and std out of the configuration: the network normalises by itself, or not at all."""
    from surgeon.models.preparation import configure, configured

    config = configured(model)
    if config is not None:
        configure(model, {k: v for k, v in config.items() if k not in _NORMALISATION})
