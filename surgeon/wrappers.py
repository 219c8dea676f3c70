"""What other code puts around a network without changing what it computes: devices, compiled code, averages."""

from __future__ import annotations

from torch import nn

from surgeon.errors import ArgumentError

_INSIDE = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
    "AveragedModel": "module",
    "ModelEmaV2": "module",
    "ModelEmaV3": "module",
}
_SHARDED = {"FullyShardedDataParallel": "module"}
_LIBRARIES = ("torch.", "timm.")


def place_inside(model: nn.Module) -> str:
    """Name the attribute of a wrapper of torch's or timm's that holds the network.

    Args:
        model: Any module.

    Returns:
        "module" or "_orig_mod"; empty for any other module. A class of other code that is a wrapper with a rule of
        its own, as torchvision's references have an average, counts as long as it calls the network as that does.
    """
    kind = _kind(model)
    return {**_INSIDE, **_SHARDED}.get(kind.__name__, "") if kind else ""


def _kind(model: nn.Module) -> type | None:
    """The wrapper of torch's or timm's that a module is, or that its class calls the network as; None for another."""
    ours = type(model)
    for kind in ours.__mro__:
        known = kind.__name__ in {*_INSIDE, *_SHARDED} and kind.__module__.startswith(_LIBRARIES)
        if known:  # code of one's own in its call may do anything to images
            same = all(getattr(ours, n) is getattr(kind, n) for n in ("forward", "__call__"))
            return kind if same else None
    return None


def unwrapped(model: nn.Module, *, sharded: bool = False) -> nn.Module:
    """Return the network that computes, without what `torch.compile`, `DataParallel` or an average put around it.

    Args:
        model: A network, or a wrapper of torch's or timm's around one, or around another wrapper.
        sharded: Whether one that shards the parameters (FSDP) is taken off too, as for what the network inside says of
            itself; it stays where the network is to run, since its parameters are not with the network inside.

    Returns:
        The network inside; `model` itself where it is no wrapper.

    Examples:
        >>> import torch
        >>> network = torch.nn.Linear(2, 2)
        >>> unwrapped(torch.nn.DataParallel(network)) is network, unwrapped(network) is network
        (True, True)
    """
    while (kind := _kind(model)) and (sharded or kind.__name__ not in _SHARDED):
        model = getattr(model, place_inside(model))
    return model


def in_python(name: str) -> str:
    """Write the place of a part of a network as Python reaches it.

    Args:
        name: Its name among the network's modules; empty for the network itself.

    Examples:
        >>> in_python("module.0.head")
        'model.module[0].head'
    """
    return "model" + "".join(f"[{p}]" if p.isdigit() else f".{p}" for p in name.split(".") if p)


def is_scripted(model: nn.Module) -> bool:
    """Whether a module is compiled by TorchScript (`torch.jit.script` or `torch.jit.trace`).

    Args:
        model: Any module.
    """
    return "ScriptModule" in (c.__name__ for c in type(model).__mro__)


def refuse_wrapped(model: nn.Module, verb: str) -> None:
    """Refuse a wrapper, whose names of weights are not the network's, and a network that TorchScript compiled.

    Args:
        model: Any module.
        verb: The function of surgeon's that it was given to, such as "save".

    Raises:
        ArgumentError: It is one; the message says what to give instead.

    Examples:
        >>> import torch
        >>> refuse_wrapped(torch.nn.DataParallel(torch.nn.Linear(2, 2)), "save")
        Traceback (most recent call last):
        surgeon.errors.ArgumentError: the network is wrapped in DataParallel: surgeon.save(model.module, …) takes it
    """
    if name := place_inside(model):
        raise ArgumentError(
            f"the network is wrapped in {type(model).__name__}: surgeon.{verb}(model.{name}, …) takes it"
        )
    if is_scripted(model):
        raise ArgumentError(
            f"the network is compiled by TorchScript, which keeps no module's class: give surgeon.{verb} the network "
            "that it was made from"
        )
