"""Read weights from checkpoint files of any common form, without executing anything in them."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from surgeon.errors import ArtifactError, ArtifactWarning, either, nearest
from surgeon.extra_state import with_extra, without_extra
from surgeon.graph.trees.bound_hooks import is_ours
from surgeon.host import in_own_state
from surgeon.models.beside_weights import guess_as, otherwise_beside
from surgeon.models.exported import demand_no_export
from surgeon.models.finite import check_finite_weights
from surgeon.models.left_alone import left_alone, some_of
from surgeon.models.rounding import tell_rounding
from surgeon.models.sets_of_weights import Taken, stripped, taken
from surgeon.models.weight_files import held_in
from surgeon.tensors.blending import Blending
from surgeon.tensors.instead import Instead
from surgeon.tensors.optional_state import OptionalState
from surgeon.values import has_values
from surgeon.warned import warn
from surgeon.wrappers import in_python


def read_weights(
    path: str | Path, *, ema: bool = False, entry: str | None = None, names: Collection[str] = ()
) -> dict[str, Tensor]:
    """Read the state dict in a checkpoint file.

    Wrappers such as `state_dict` or `model` are removed, and so are prefixes such as `module.` that all names have.

    Args:
        path: a .safetensors, .pth, .pt, .th, .bin, .ckpt or .tar file.
        ema: take the averaged weights. They are taken anyway where the file has no others.
        entry: take the weights under this entry of the file, such as `model_ema` or `swa.state_dict`; "." for those
            that lie in it directly.
        names: what the network's tensors are called. Prefixes stay where it has such names, as a network does
            whose only child is called `model`.

    Returns:
        Name → tensor, on the CPU.

    Raises:
        ArtifactError: the file is missing, truncated or of an unknown kind, holds pickled code, which is
            never executed, or has no such weights; the message lists those that it has.
        ArgumentError: ema and entry are given.

    Warns:
        ArtifactWarning: the file has other weights of the same names, such as averaged ones; they are named.

    Examples:
        >>> import tempfile, torch
        >>> from surgeon.models.checkpoints import read_weights
        >>> with tempfile.TemporaryDirectory() as place:
        ...     torch.save({"state_dict": {"module.weight": torch.ones(2)}}, f"{place}/w.pth")
        ...     read_weights(f"{place}/w.pth")
        {'weight': tensor([1., 1.])}
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"{path} is not a file")
    demand_no_export(path)
    loaded = held_in(path)
    taken_set = taken(loaded, ema=ema, entry=entry, source=str(path))
    if entry is None and not ema:
        _tell_of_others(path, taken_set)
    return stripped(taken_set.weights, names)


@in_own_state(training=True)
def load_weights(
    model: nn.Module, path: str | Path, *, ema: bool = False, entry: str | None = None, strict: bool = True
) -> None:
    """Load weights from a checkpoint file into a network.

    How the network's images are normalised, where nobody said it and the folder of the file does not, is then a guess,
    as with `surgeon.create_model(name, weights=…)`; `surgeon.save` writes that down.

    Args:
        model: the network, changed in place.
        path: a .safetensors, .pth, .pt, .th, .bin, .ckpt or .tar file. Nothing in it is executed.
        ema: take the averaged weights.
        entry: take the weights under this entry of the file, such as `model_ema`.
        strict: refuse missing and unexpected keys, except that layers which surgery inserted may have none; False
            loads the keys that match.

    Raises:
        ArtifactError: the file cannot be read, does not fit, or has not one tensor of the network's names. The message
            has missing and unexpected keys and differing shapes, tensors that are not finite, or the sets of weights
            that the file has. Nothing has been loaded then.

    Warns:
        ArtifactWarning: weights are rounded to the network's type, such as float64 to float32; tensors of the network,
            such as those of layers that surgery inserted, stay as they are, or some of the file's have no place; or the
            folder that the file lies in says that its network has other layers, or its images another normalisation,
            size or resizing.

    Examples:
        >>> import tempfile, surgeon, torch
        >>> network, other = (surgeon.create_model("zoo/lenet5") for _ in range(2))
        >>> with tempfile.TemporaryDirectory() as place:
        ...     torch.save(network.state_dict(), f"{place}/lenet5.pt")
        ...     surgeon.load_weights(other, f"{place}/lenet5.pt")
        >>> torch.equal(network.fc3.weight, other.fc3.weight)
        True
    """
    weights = load_file(model, path, ema=ema, entry=entry, strict=strict)
    rest = left_alone(model, weights, optional_keys(model, weights), str(path), strict=strict)
    guess_as(model, path)
    for said in (rest, otherwise_beside(path, model)):
        if said:
            warn(said, ArtifactWarning)


@in_own_state(training=True)
def load_file(
    model: nn.Module, path: str | Path, *, ema: bool = False, entry: str | None = None, strict: bool = True
) -> dict[str, Tensor]:
    """Load weights as `load_weights` does, without a look at the folder of the file.

    Args:
        model: As for `load_weights`.
        path: As for `load_weights`.
        ema: As for `load_weights`.
        entry: As for `load_weights`.
        strict: As for `load_weights`.

    Returns:
        Name → tensor, as the file has them.

    Raises:
        ArtifactError: As for `load_weights`.
    """
    weights = read_weights(path, ema=ema, entry=entry, names=model.state_dict())
    check_fit(model, weights, str(path), strict=strict)
    check_finite_weights(model, weights, str(path))
    tell_rounding(model, weights, str(path))
    try:
        model.load_state_dict(versioned(model, weights), strict=strict)
    except RuntimeError as error:  # from a module that refuses a tensor
        raise ArtifactError(
            f"{path} does not fit {type(model).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    return weights


def versioned(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn weights into a state dict that states the version of each module.

    Files of tensors do not store versions, so the modules' present ones are used. Extra state that the
    weights lack is the model's own. A batch norm without `num_batches_tracked` gets no version: torch then
    accepts that the count is missing.

    Args:
        model: the network to load into.
        weights: name → tensor.
    """
    state: OrderedDict[str, Tensor] = OrderedDict(with_extra(weights, model.state_dict()))
    versions = getattr(model.state_dict(), "_metadata", {})
    lacking = {
        k.removesuffix("num_batches_tracked").rstrip(".") for k in model.state_dict() if k not in weights
    }
    known = OrderedDict((k, v) for k, v in versions.items() if k not in lacking)
    state._metadata = known  # type: ignore[attr-defined]  # where torch keeps versions
    return state


def lay_on(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Let parameters use the memory of `weights` where both have the same layout, without a copy.

    Parameters remain the same objects, also where modules share one. Still copied are buffers, parameters of
    another type, layout or device, those whose memory another tensor shares, and those of modules that load
    in their own way.

    Args:
        model: the network, changed in place.
        weights: name → tensor.

    Returns:
        The state dict to load afterwards, which copies the rest.
    """
    laid = dict(weights)
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}.values()
    holders = Counter(t.untyped_storage().data_ptr() for t in tensors if not t.is_meta)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        # A parameter that shares its storage is copied as usual: with new memory, its other views would
        # keep the old values.
        whole = parameter.is_meta or holders[parameter.untyped_storage().data_ptr()] == 1
        if name in weights and whole and _lie_alike(parameter, weights[name]) and _loads_plainly(model, name):
            parameter.data = weights[name]
            holders[parameter.untyped_storage().data_ptr()] = 1  # the parameter may have other names
            laid[name] = parameter.detach()  # copy_ of a tensor onto its own memory does nothing
    return laid


def _lie_alike(parameter: Tensor, tensor: Tensor) -> bool:
    return (
        type(parameter) is nn.Parameter
        and parameter.layout == tensor.layout
        and (parameter.dtype, parameter.device) == (tensor.dtype, tensor.device)
        and (parameter.shape, parameter.stride()) == (tensor.shape, tensor.stride())
        and parameter.untyped_storage().nbytes() == parameter.numel() * parameter.element_size()
    )


def _loads_plainly(model: nn.Module, name: str) -> bool:
    """Whether all modules above a parameter load it unchanged: hooks and own loading code may convert it."""
    module = model
    for part in name.split("."):
        own = type(module)._load_from_state_dict.__module__.partition(".")[0]
        hooks = module._load_state_dict_pre_hooks.values()
        converts = any(not is_ours(h) for h in hooks)
        if converts or own not in ("torch", "timm", "torchvision", "surgeon"):
            return False
        module = getattr(module, part)
    return True


def check_fit(model: nn.Module, weights: Mapping[str, Tensor], source: str, *, strict: bool = True) -> None:
    """Check that weights have the names, shapes and kinds of number that a network loads.

    Floats of any precision fit floats and integers of any size fit integers, as long as the network's type can hold
    the values: 16 bits into 32 are exact, 64 into 32 are rounded. Other conversions would change the numbers.

    Args:
        model: the network.
        weights: name → tensor.
        source: where the weights come from, for the message.
        strict: refuse missing and unexpected keys too.

    Raises:
        ArtifactError: the weights do not fit; the message lists up to three problems of each kind.
    """
    every = model.state_dict()
    own = without_extra(every)
    optional = optional_keys(model, weights)
    missing = [
        k for k in own if k not in weights and k not in optional and not k.endswith("num_batches_tracked")
    ]
    made = _made_by_layers(model, weights)
    unexpected = [k for k in weights if k not in every and k not in made]
    shapes = [
        f"{k} is {tuple(weights[k].shape)}, the model needs {tuple(own[k].shape)}"
        for k in own
        if k in weights and weights[k].shape != own[k].shape
    ]
    kinds = [
        f"{k} is {_kind(weights[k])}, the model needs {_kind(own[k])}"
        for k in own
        if k in weights and _kind(weights[k]) != _kind(own[k])
    ]
    kinds += [
        f"{k} has values that {str(own[k].dtype).removeprefix('torch.')} cannot hold"
        for k in own
        if k in weights and _kind(weights[k]) == _kind(own[k]) and not _holds(own[k].dtype, weights[k])
    ]
    kinds += [f"{k} is without values, on the device meta" for k, v in weights.items() if not has_values(v)]
    fitting = sum(k in weights and weights[k].shape == own[k].shape for k in own)
    problems = []
    if strict and (inside := _part_of(model, weights)):
        problems.append(f"it fits {in_python(inside)}: give that")
    elif strict and 2 * fitting < len(own):
        problems.append(f"it is probably of another network, as {fitting} of {len(own)} tensors fit")
    if missing and strict:
        problems.append(f"{len(missing)} missing: {some_of(missing)}{_without_statistics(missing, weights)}")
    if unexpected and strict:
        hint = f" ({nearest(unexpected[0], missing)})" if missing else ""
        problems.append(f"{len(unexpected)} unexpected: {some_of(unexpected)}{hint}")
    if shapes:
        problems.append(
            f"{len(shapes)} of another shape: {'; '.join(shapes[:3])}{'; …' if len(shapes) > 3 else ''}"
        )
    if kinds:
        problems.append(
            f"{len(kinds)} of another kind: {'; '.join(kinds[:3])}{'; …' if len(kinds) > 3 else ''}"
        )
    if missing and strict:
        problems += _of_what_was_there(model, weights)[:1]
    if problems:
        raise ArtifactError(f"{source} does not fit {type(model).__name__}: {'; '.join(problems)}")


def _part_of(model: nn.Module, weights: Mapping[str, Tensor]) -> str:
    """The name of the part of a network, such as the one in a wrapper, that has all of the weights' names, or ""."""
    own = model.state_dict()
    names = (name for name, _ in model.named_modules() if name)
    return next((n for n in names if weights and all(f"{n}.{key}" in own for key in weights)), "")


def _without_statistics(missing: Iterable[str], weights: Mapping[str, Tensor]) -> str:
    """Say so where weights are of norms that have lost their running statistics."""
    norms = [k.removesuffix(".running_mean") for k in missing if k.endswith(".running_mean")]
    norm = next((n for n in norms if f"{n}.weight" in weights and f"{n}.running_var" not in weights), None)
    if norm is None:
        return ""
    return (
        f" ({norm} was saved without running statistics, as adaptation at test time leaves norms: they load into a "
        f"network whose {norm}.running_mean and running_var are None too)"
    )


def _of_what_was_there(model: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Say of layers that took others' places that the weights are those of the others."""
    layers = [(f"{n}." if n else "", m) for n, m in model.named_modules() if isinstance(m, Instead)]
    return [reason for prefix, layer in layers if (reason := layer.unfit(weights, prefix))]


def _holds(dtype: torch.dtype, tensor: Tensor) -> bool:
    """Whether a type can hold a tensor's values: no finite one becomes infinite, and no integer another one."""
    if tensor.dtype == dtype or not has_values(tensor) or _kind(tensor) not in ("floats", "integers"):
        return True
    limits = torch.finfo if dtype.is_floating_point else torch.iinfo
    given, own = limits(tensor.dtype), limits(dtype)
    if own.min <= given.min and given.max <= own.max:
        return True
    finite = tensor[tensor.isfinite()]
    return bool(finite.numel() == 0 or (own.min <= finite.min() and finite.max() <= own.max))


def _kind(tensor: Tensor) -> str:
    """The kind of a tensor's numbers, for messages."""
    if tensor.layout != torch.strided:
        return f"sparse ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.is_quantized:
        return "quantized"
    if tensor.dtype.is_complex:
        return "complex"
    if tensor.dtype.is_floating_point:
        return "floats"
    return "yes or no" if tensor.dtype is torch.bool else "integers"


def optional_keys(model: nn.Module, weights: Mapping[str, Tensor]) -> set[str]:
    """The tensors that a state dict may lack: state of inserted layers, and tensors that annealing dropped.

    Args:
        model: the network.
        weights: name → tensor.
    """
    blends = [(n, m) for n, m in model.named_modules() if isinstance(m, Blending)]
    dropped = {key for n, m in blends for key in m.absent(weights, f"{n}." if n else "")}
    return dropped | {
        f"{name}.{key}" if name else key
        for name, module in model.named_modules()
        if isinstance(module, OptionalState)
        for key in module.state_dict()
    }


def _made_by_layers(model: nn.Module, weights: Mapping[str, Tensor]) -> set[str]:
    """The tensors for which inserted layers make a place when they load."""
    layers = [(f"{n}." if n else "", m) for n, m in model.named_modules() if isinstance(m, OptionalState)]
    return {key for prefix, layer in layers for key in layer.takes(weights, prefix)}


def _tell_of_others(path: Path, choice: Taken) -> None:
    """Warn of other weights of the same names, so that nobody thinks that those were taken."""
    if choice.others:
        hint = either(f"entry={choice.others[0]!r}", f"--weights-entry {choice.others[0]}")
        warn(
            f"{path} holds more than one set of weights: {choice.name!r} was taken, and not "
            f"{', '.join(map(repr, choice.others))}; {hint} takes another",
            ArtifactWarning,
        )
