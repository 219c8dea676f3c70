"""What distinguishes one training from another: its settings, its images, and the network but for its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import xxhash
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from surgeon.data import Images, Records, contents_of, differing
from surgeon.errors import ArgumentError
from surgeon.graph.trees.implants import fixed_settings
from surgeon.methods.annealed import annealed
from surgeon.models.source_code import changed_code, code_of
from surgeon.processes import gathered
from surgeon.recipe import Training
from surgeon.training.reading import Seeded
from surgeon.training.source import Source
from surgeon.training.two_rounds import noise_by_name
from surgeon.values import raw

SAMPLE = 32
"""So many images of a Dataset of one's own, evenly spaced, are read to know it again."""


def identity_of(
    settings: Training,
    seed: int,
    train: Source,
    val: Source | None,
    model: nn.Module,
    normalize: tuple[Sequence[float], Sequence[float]] | None,
    mixed_precision: str,
) -> dict[str, Any]:
    """Return the values that distinguish one training from another.

    Images in memory and Records are known by `contents_of`, a TensorDataset by all of its values, another Dataset by
    its length and a sample of its images and labels, a stream by its length. The network is known by its layers, in
    the words that they print, by the source of its own classes, and by which parameters are frozen; the weights that
    it begins with do not count.

    Args:
        settings: Settings of the training.
        seed: Its seed.
        train: Its images.
        val: Its validation images; None without them.
        model: The network.
        normalize: (mean, std) per channel, or None.
        mixed_precision: Its precision.

    Returns:
        Plain values by name.
    """
    identity = {**settings.model_dump(mode="json"), "seed": seed, "mixed_precision": mixed_precision}
    identity["normalize"] = None if normalize is None else [[float(v) for v in part] for part in normalize]
    if isinstance(train, Images):
        identity["shape"] = list(train.x.shape[1:])
    identity |= {k: v for k, v in _known(train).items() if k != "read"}
    identity["validation"] = None if val is None else _known(val)
    identity["network"] = layers_of(model)
    identity["code"] = code_of(model)
    identity["frozen"] = sorted(n for n, p in model.named_parameters() if not p.requires_grad)
    return identity


def demand_one(identity: dict[str, Any]) -> None:
    """Check that all processes of a training have the same one. All of them call this.

    Args:
        identity: What `identity_of` gives in this process.

    Raises:
        ArgumentError: Another process has other settings, other images or another network. Raised in every process.
    """
    everyone = gathered([identity])
    for rank, theirs in enumerate(everyone[1:], 1):
        if differences := other(everyone[0], theirs):
            raise ArgumentError(
                f"process {rank} is given another training than process 0 ({'; '.join(differences)}): give all "
                "processes the same settings, the same seed and all images, of which each takes its part"
            )


def layers_of(model: nn.Module) -> dict[str, str]:
    """Return what each module of a network is, in the words that it prints.

    Args:
        model: The network.

    Returns:
        Kind and settings by name; of what a training anneals the kind alone.
    """
    layers = [layer for *_, layer in annealed(model)]
    changing = {name for name, module in model.named_modules() if any(module is layer for layer in layers)}
    by_name: dict[str, str] = {}
    noise = noise_by_name(model)
    for name, module in model.named_modules():
        if any(name.startswith(f"{c}.") for c in changing):
            continue  # a part of it may be gone at the end
        settings = "…" if name in changing else module.extra_repr()
        if name in noise:
            settings = settings.removesuffix(", disabled")
        own = _own_settings(module)
        words = ", ".join(filter(None, (settings, *own)))
        by_name[name] = f"{type(module).__qualname__.rpartition('.')[2]}({words})"
    return by_name


def _own_settings(module: nn.Module) -> list[str]:
    """The plain settings of own code, which it need not print, but for what that code sets while it runs."""
    if type(module).__module__.partition(".")[0] in ("torch", "surgeon"):
        return []
    return [f"{name}={value!r}" for name, value in fixed_settings(module)]


def hash_of(weights: Mapping[str, Any]) -> str:
    """Hash the tensors of a state dict, with their names.

    Args:
        weights: The state dict.

    Returns:
        The hash in hexadecimal digits.
    """
    return _hash(
        [
            p
            for k, v in weights.items()
            for p in (k.encode(), v)
            if isinstance(p, bytes) or isinstance(v, Tensor)
        ]
    )


def other(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Say how two identities differ.

    Args:
        before: The recorded one.
        now: The present one.

    Returns:
        A phrase for each difference, in order.
    """
    differences = []
    for name in sorted(k for k in {*before, *now} if before.get(k) != now.get(k)):
        there, here = before.get(name), now.get(name)
        if name == "validation":
            differences.append(f"validation images: {differing(there, here)}")
        elif name == "code":
            changed = changed_code(there or {}, here or {})
            if changed:
                differences.append(f"the code of {', '.join(changed)} has changed; put it back to go on")
        elif name == "network":
            old, new = dict(there or {}), dict(here or {})
            layer = next(k for k in [*old, *new] if old.get(k) != new.get(k))
            differences.append(
                f"layer {layer or 'of the whole'}: {old.get(layer, 'none')} there, {new.get(layer, 'none')} here"
            )
        else:
            differences.append(f"{name}: {there} there, {here} here")
    return differences


def _known(data: Source) -> dict[str, Any]:
    if isinstance(data, (Images, Records)):
        return contents_of(data)
    # A Dataset has a length here: `Batches` has refused others.
    known: dict[str, Any] = {"images": len(data)}  # type: ignore[arg-type]
    if isinstance(data, TensorDataset):
        known["sample"] = _hash([t for part in data.tensors for t in part.split(1024)])
    elif not isinstance(data, IterableDataset):
        known["sample"] = _sample(data, known["images"])
    return known


def _sample(data: Dataset, count: int) -> str:
    """Hash evenly spaced images and labels, of random transforms with one seed.

    Where reading an image twice gives two, it has a source of chance of its own: then labels alone are hashed.
    """
    chosen = range(0, count, max(1, count // SAMPLE))
    read, again = ([Seeded(data, 0, 0)[i] for i in chosen] for _ in range(2))
    both = [[_bytes(item[0]) for item in items] for items in (read, again)]
    labels = [torch.as_tensor(item[1]) for item in read]
    return _hash(labels if both[0] != both[1] else [*labels, *both[0]])


def _bytes(value: object) -> bytes:
    """A tensor or an array as bytes; of another value, which no training takes, its type."""
    if not isinstance(value, Tensor):
        kind = repr(type(value)).encode()
        return kind + _bytes(torch.as_tensor(value)) if hasattr(value, "__array_interface__") else kind
    head = f"{value.dtype} {tuple(value.shape)}".encode()
    return head + raw(value).tobytes()


def _hash(values: Sequence[Tensor | bytes]) -> str:
    digest = xxhash.xxh3_128()
    for value in values:
        digest.update(_bytes(value) if isinstance(value, Tensor) else value)
    return digest.hexdigest()
