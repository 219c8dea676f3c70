"""What a trainer of other people's asks of a network beside its forward, and what a rewritten one answers.

transformers' Trainer counts parameters and tokens, which is reading, and writes checkpoints by
`save_pretrained`. What a rewritten network computes is not what its class computes with these weights; so a
checkpoint of it is weights alone, from which the same Trainer goes on, and a `config.json` from which no
network can be made: each size in it is a sentence that says why. Without one, `from_pretrained` would take
the class's defaults, and might give a stock network with these weights without a word.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch import nn

from surgeon.disk.writing import shared
from surgeon.errors import SurgeryError
from surgeon.extra_state import in_tensors
from surgeon.warned import warn

READING = (
    "num_parameters",
    "floating_point_ops",
    "estimate_tokens",
    "get_memory_footprint",
    "can_generate",
    "get_input_embeddings",
    "get_output_embeddings",
    "tie_weights",
    "get_parameter_or_buffer",
)
"""Methods of transformers' networks that read parameters and configuration, or tie what is tied already."""
WEIGHTS = "model.safetensors"
CONFIGURATION = "config.json"
_REWRITTEN = "surgeon: a rewritten"

_WITHOUT = {
    "prune_intermediate_layers": (
        "features come without it: model.forward_intermediates(images, indices=[...]) has the surgery in effect, "
        "timm's FeatureGetterNet takes prune=False, and what timm.create_model(..., features_only=True) gives is cut"
    )
}
"""Methods that are refused, each with another way to what it is called for."""

_BEFORE = "call it before surgeon.apply, or on surgeon.fold(model) or surgeon.revert(model)"


def instead_of(stock: type[nn.Module], name: str) -> str:
    """What to do instead of calling a method that is refused, in words.

    stock: the network's class, which may have the method from a library that calls it itself.
    """
    libraries = {c.__module__.partition(".")[0] for c in stock.__mro__ if name in vars(c)}
    if libraries & {"lightning", "pytorch_lightning"}:
        return (
            "it is a LightningModule, whose Trainer calls that: cut the network inside of one, "
            "module.net = surgeon.apply(module.net, …), and train the module"
        )
    if "huggingface_hub" in libraries:
        return (
            "surgeon.save(model, folder) keeps the surgery, and `surgeon push` uploads that folder; "
            f"surgeon.fold(model).{name} is for the stock network that it folds to"
        )
    return f"{_BEFORE}{f'; {_WITHOUT[name]}' if name in _WITHOUT else ''}"


def writes_weights(name: str, member: Any) -> bool:
    """Whether a method is transformers' way to write a network into a folder."""
    return name == "save_pretrained" and str(getattr(member, "__module__", "")).startswith("transformers.")


def save_weights(
    network: nn.Module,
    save_directory: str | os.PathLike[str],
    is_main_process: bool = True,
    state_dict: dict[str, Any] | None = None,
    push_to_hub: bool = False,
    **others: Any,
) -> None:
    """Write the network's `state_dict` into `save_directory` as `model.safetensors`, and warn that it is
    no more than that.

    Raises SurgeryError for `push_to_hub`, and for a folder with a stock network's `config.json`, which
    would then describe other weights.
    """
    from safetensors.torch import save_file

    kind = type(network).__name__
    whole = (
        "surgeon.save(model, folder) keeps the surgery, "
        "surgeon.fold(model).save_pretrained(folder) gives a stock network"
    )
    folder = Path(save_directory)
    configuration = folder / CONFIGURATION
    if push_to_hub:
        raise SurgeryError(f"a rewritten {kind} is not pushed as a stock one; {whole}, which can be pushed")
    if configuration.exists() and _REWRITTEN not in configuration.read_text(encoding="utf-8"):
        raise SurgeryError(
            f"{folder} has the {CONFIGURATION} of a stock network, which the weights of a "
            f"rewritten {kind} do not go with; {whole}"
        )
    if not is_main_process:
        return
    folder.mkdir(parents=True, exist_ok=True)
    sentence = (
        f"{_REWRITTEN} {kind}, of which this folder has the weights alone, to go on training from: {whole}"
    )
    configuration.write_text(json.dumps(_unusable(network, sentence), indent=1), encoding="utf-8")
    beside = folder / f"{WEIGHTS}.unfinished"
    tensors = network.state_dict() if state_dict is None else state_dict
    with shared(beside):
        save_file(
            {k: t.detach().clone().contiguous() for k, t in in_tensors(tensors).items()},
            beside,
            metadata={"format": "pt"},
        )
    os.replace(beside, folder / WEIGHTS)
    warn(
        f"{folder / WEIGHTS} has the weights of a rewritten {kind} alone, to go on training from; {whole}",
    )


def _unusable(network: nn.Module, sentence: str) -> dict[str, Any]:
    """A configuration that transformers' base class and its Trainer can read, and that no network's class
    accepts."""
    config = getattr(network, "config", None)
    if config is None:
        return {"remark": sentence}
    base = next((c for c in type(config).__mro__ if c.__name__.lower() == "pretrainedconfig"), None)
    common = base().to_dict() if base else {}
    own = {k: v for k, v in config.to_dict().items() if k not in common}
    sizes = [k for k, v in own.items() if isinstance(v, (int, list)) and not isinstance(v, bool)]
    return {"model_type": f"{_REWRITTEN} {config.model_type}", **dict.fromkeys(sizes or own, sentence)}
