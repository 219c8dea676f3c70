"""Networks of the caller's own code, named `package.module:factory`.

A name that the caller writes is imported when asked for. A name in a folder's configuration was written by
somebody else: `surgeon.load` imports it only if the caller has allowed its module (`check_allowed`).
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
_SCHEMES = ("hf-hub", "hf_hub", "local-dir", "local_dir", "timm", "robustbench")


def is_own(name: str) -> bool:
    """Whether a model's name refers to own code, `package.module:factory`.

    Args:
        name: a model's name. `hf-hub:…` and `local-dir:…` are timm's, `robustbench:…` is RobustBench's.

    Examples:
        >>> is_own("mine.networks:small"), is_own("resnet18"), is_own("hf-hub:ann/lenet5")
        (True, False, False)
    """
    match = _NAME.fullmatch(name)
    return match is not None and match.group(1) not in _SCHEMES


def module_of(name: str) -> str:
    """The module that a name of own code imports.

    Args:
        name: `package.module:factory`.
    """
    return name.partition(":")[0]


def check_allowed(name: str, allowed: Iterable[str], folder: str) -> None:
    """Check that a folder may import the module it names. Nothing is imported.

    Args:
        name: `package.module:factory`, as the folder has it.
        allowed: the modules that the caller allows.
        folder: the folder, for the message.

    Raises:
        ArtifactError: the module is not among the allowed ones.
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
    """The modules that are allowed once the caller has named a model.

    Args:
        model: the model's name.
        allowed: modules that the caller allows.

    Returns:
        `allowed`, with the model's own module if its name refers to code.
    """
    return (*allowed, *([module_of(model)] if is_own(model) else []))


def build(
    name: str,
    args: Mapping[str, Any],
    *,
    pretrained: bool = False,
    num_classes: int | None = None,
    in_chans: int | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Import a module and call its factory.

    Args:
        name: `package.module:factory`.
        args: arguments of the factory.
        pretrained: passed on if True; the factory must then accept it.
        num_classes: passed on where the factory's signature accepts it.
        in_chans: passed on where the factory's signature accepts it.

    Returns:
        The network, and the arguments that the factory was called with.

    Raises:
        ModelError: the module cannot be imported; the factory is missing, is defined in another module,
            fails, or does not return an nn.Module; or the network cannot be given what was asked for.
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
    defined_in = str(getattr(factory, "__module__", ""))
    if defined_in != module_name and not defined_in.startswith(module_name + "."):
        raise ModelError(f"{name} is defined in {defined_in}; name it there: {defined_in}:{factory.__name__}")
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
    """Check that an argument the factory does not accept already has the value that was asked for."""
    from surgeon.models.facts import in_channels_of, num_classes_of

    known = {"num_classes": num_classes_of(model), "in_chans": in_channels_of(model)}
    for key, value in refused.items():
        if known[key] not in (None, value):
            raise ModelError(
                f"{name} takes no argument {key!r} and makes a network of {key}={known[key]}, where {value} is asked "
                f"for; let the factory take it"
            )
