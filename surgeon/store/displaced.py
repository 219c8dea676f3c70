"""The tensors that a surgery replaced, which revert restores, as a file holds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from surgeon.disk.stored import stored
from surgeon.errors import ArtifactError
from surgeon.extra_state import in_tensors, with_extra
from surgeon.graph.rewritten.displaced import Displaced


def displaced_state(model: nn.Module) -> dict[str, Tensor]:
    displaced = model.__dict__.get("displaced") or Displaced()
    state = {f"statistics.{k}": v for k, v in displaced.statistics.items()}
    for site, module in displaced.modules.items():
        state |= {f"modules.{site}.{k}": v for k, v in in_tensors(module.state_dict()).items()}
    return stored(state)


def restore_displaced(network: nn.Module, state: Mapping[str, Tensor], place: Path) -> None:
    displaced: Displaced = network.__dict__["displaced"]
    displaced.statistics = {
        k.removeprefix("statistics."): v.clone() for k, v in state.items() if k.startswith("statistics.")
    }
    for site, module in displaced.modules.items():
        prefix = f"modules.{site}."
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        try:
            module.load_state_dict(with_extra(own, module.state_dict()))
        except RuntimeError as error:
            text = " ".join(str(error).split())[:200]
            raise ArtifactError(f"{place} does not fit the module at {site}: {text}") from error
