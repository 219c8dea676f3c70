"""Whether modules, and objects that they hold, still have the dicts that they had when the graphs were made.

What is compared at each call is looked for in these dicts. Code may give an object another one as a whole, as in
`config.__dict__ = {...}` or `block.__dict__["_modules"] = {...}`: what is compared is then written down anew.
"""

from __future__ import annotations

import itertools
import operator
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.compiler import is_compiling

from surgeon import tree
from surgeon.errors import SurgeryError
from surgeon.graph.changes.exchanged import Change
from surgeon.graph.changes.settings import REGISTERED, owner_of
from surgeon.graph.measuring.traced import Asked

_dict = operator.attrgetter("__dict__")
_registered = operator.itemgetter(*REGISTERED)


@dataclass(frozen=True)
class Homes:
    """Modules and other objects, with their dicts; and of modules with children the dicts in these for tensors and
    children. Other modules read theirs themselves."""

    owners: tuple[Any, ...]
    dicts: tuple[dict[str, Any], ...]
    parents: tuple[dict[str, Any], ...]
    registered: tuple[dict[str, Any], ...]

    def stands(self) -> bool:
        """Whether the dicts are the same objects. It is asked at every call."""
        if is_compiling():  # it sees no dict as the same object, and looks at attributes by guards of its own
            return True
        if not all(map(operator.is_, map(_dict, self.owners), self.dicts)):
            return False
        now = itertools.chain.from_iterable(map(_registered, self.parents))
        return all(map(operator.is_, now, self.registered))

    def change(self, network: nn.Module) -> Change | None:
        """None: what is in other dicts is looked at by those who compare it."""
        return None


def demand_surgery(network: nn.Module) -> None:
    """Raise SurgeryError for a rewritten network whose own dict was exchanged for one without its surgery."""
    if "_stock_class" not in network.__dict__:
        raise SurgeryError(
            "the network's whole __dict__ was exchanged for one without its surgery: set attributes one by one, "
            "take weights over by load_state_dict, or apply the surgery to the other network"
        )


def watched(network: nn.Module, asked: Asked) -> Homes:
    """The dicts that a network's modules have now, and the objects whose attributes its code asked for."""
    modules = [m for _, m in tree.modules(network)]
    held = (owner_of(network, path, name) for path, name in asked.settings if "." in name)
    objects = {id(o): o for o in held if not isinstance(o, nn.Module) and type(_dict_of(o)) is dict}
    owners = (*modules, *objects.values())
    parents = tuple(_dict(m) for m in modules if m is network or m._modules)
    registered = tuple(itertools.chain.from_iterable(map(_registered, parents)))
    return Homes(owners, tuple(map(_dict, owners)), parents, registered)


def _dict_of(owner: Any) -> Any:
    return getattr(owner, "__dict__", None)
