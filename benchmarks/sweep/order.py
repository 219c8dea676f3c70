"""Which models there are, of which family each is, and in which order they are swept: broad first."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence

from surgeon.models import list_models
from surgeon.models.creating import ZOO
from surgeon.models.libraries import TORCHVISION


@functools.cache
def all_models() -> tuple[str, ...]:
    """Every architecture of timm, and every model of torchvision."""
    return tuple(n for n in list_models() if not n.startswith(ZOO))


@functools.cache
def family_of(name: str) -> str:
    """The Python module in which a library defines the model."""
    if name.startswith(TORCHVISION):
        from torchvision.models import get_model_builder

        module_name = get_model_builder(name.removeprefix(TORCHVISION)).__module__
        return TORCHVISION + module_name.removeprefix("torchvision.models.").replace(".", "/")
    from timm.models._registry import _model_to_module

    return str(_model_to_module.get(name, ""))


def share_of(names: Sequence[str], share: str) -> Sequence[str]:
    """The names of one of several sweeps at a time; share: '2/3', the second of three. Raises ValueError
    for another text."""
    numbers = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", share)
    number, of = map(int, numbers.groups()) if numbers else (1, 0)
    if number > of:
        raise ValueError(f"--share {share!r} must look like 2/3, the second of three")
    return names[number - 1 :: of]


def broad_first(names: Sequence[str], parameters: Mapping[str, int]) -> list[str]:
    """One model of each family, then a second one of each, and so on; in a family the smaller first."""
    families: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda n: (parameters[n], n)):
        families.setdefault(family_of(name), []).append(name)
    queues = families.values()
    return [q[i] for i in range(max(map(len, queues), default=0)) for q in queues if i < len(q)]
