"""Networks of the caller's own code, named `package.module:factory`.

A name that the caller writes is imported as it is asked. A name that stands in a folder is somebody else's word:
`surgeon.load` imports it only where the caller has allowed its module by name (`check_allowed`).
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from surgeon.errors import ArtifactError, ModelError, either, nearest

if TYPE_CHECKING:
    from torch import nn

_WORD = r"[^\W\d]\w*"
_NAME = re.compile(rf"({_WORD}(?:\.{_WORD})*):({_WORD})")
_SCHEMES = ("hf-hub", "hf_hub", "local-dir", "local_dir", "timm")


def is_own(name: str) -> bool:
    """Whether a model's name means code, `package.module:factory`; `hf-hub:` and `local-dir:` are timm's."""
    found = _NAME.fullmatch(name)
    return found is not None and found.group(1) not in _SCHEMES


def module_of(name: str) -> str:
    """The module that a name of own code would import."""
    return name.partition(":")[0]


def check_allowed(name: str, allowed: Iterable[str], folder: str) -> None:
    """Raise ArtifactError unless the module that `name` would import is among the `allowed` ones.

    Nothing is imported. `folder` is what named it, for the message.
    """
    module = module_of(name)
    if module not in set(allowed):
        how = either(
            f"surgeon.load(folder, allow_code=[{module!r}]); or pass the stock network: surgeon.load(folder, model=…)",
            f"--allow-code {module}",
        )
        raise ArtifactError(
            f"{folder} names code to import, {name}; nothing was imported. If you trust {module}, allow it: {how}"
        )


def allowed_with(model: str, allowed: Iterable[str]) -> tuple[str, ...]:
    """The modules that are allowed where the caller names `model`: its own, if it is code, and the `allowed` ones."""
    return (*allowed, *([module_of(model)] if is_own(model) else []))


def build(
    name: str, args: Mapping[str, Any], *, pretrained: bool = False, num_classes: int | None = None,
    in_chans: int | None = None,
) -> tuple[nn.Module, dict[str, Any]]:  # fmt: skip
    """Import the module, call the factory; returns its network, and the arguments it was called with.

    num_classes, in_chans and pretrained are passed where the factory's signature takes them.

    Raises ModelError for a module that cannot be imported, a factory that is not there, is defined elsewhere, fails,
    gives no nn.Module, or has no argument for what is asked.
    """
    factory = _factory(name)
    asked = {"num_classes": num_classes, "in_chans": in_chans, "pretrained": pretrained or None}
    asked = {k: v for k, v in asked.items() if v is not None and k not in args}
    taken = {k: v for k, v in asked.items() if _takes(factory, k)}
    if "pretrained" in asked and "pretrained" not in taken:
        raise ModelError(
            f"{name} takes no argument 'pretrained'; give a checkpoint file as {either('weights', '--weights')}"
        )
    given = {**args, **taken}
    try:
        model = factory(**given)
    except Exception as error:  # whatever the caller's code raises
        text = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{name} with {given or 'no arguments'} raised {type(error).__name__}: {text}"
        ) from error
    from torch import nn

    if not isinstance(model, nn.Module):
        raise ModelError(f"{name} gives a {type(model).__name__}; a network is a torch.nn.Module")
    _check_made(name, model, {k: v for k, v in asked.items() if k not in taken})
    return model, {k: v for k, v in given.items() if k != "pretrained"}


def _factory(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    if module_name.partition(".")[0] in sys.stdlib_module_names:
        raise ModelError(f"{name}: {module_name} is a module of Python itself, which holds no networks")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module's own code runs on import, and may raise anything
        text = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{name}: {module_name} cannot be imported: {type(error).__name__}: {text}; its folder must be the "
            f"present one or on PYTHONPATH"
        ) from error
    factory = getattr(module, attribute, None)
    if factory is None:
        known = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise ModelError(f"{module_name} has no {attribute!r}; {nearest(attribute, known)}")
    if not (inspect.isfunction(factory) or inspect.isclass(factory)):
        raise ModelError(f"{name} is a {type(factory).__name__}; a factory is a function or a class")
    home = str(getattr(factory, "__module__", ""))
    if home != module_name and not home.startswith(module_name + "."):
        raise ModelError(f"{name} is defined in {home}; name it there: {home}:{factory.__name__}")
    if inspect.isclass(factory) and not hasattr(factory, "named_modules"):
        raise ModelError(f"{name} is a class, but of no torch.nn.Module")
    return factory


def _takes(factory: Callable[..., Any], argument: str) -> bool:
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return False
    return argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _check_made(name: str, model: nn.Module, refused: Mapping[str, Any]) -> None:
    """What was asked for and could not be passed on must be what the network is anyway, as far as it tells."""
    from surgeon.models.facts import in_channels_of, num_classes_of

    known = {"num_classes": num_classes_of(model), "in_chans": in_channels_of(model)}
    for key, value in refused.items():
        if known[key] not in (None, value):
            raise ModelError(
                f"{name} takes no argument {key!r} and makes a network of {key}={known[key]}, where {value} is asked "
                f"for; let the factory take it"
            )
