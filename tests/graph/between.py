"""A small operation for tests of places: any layer before, after or in place of what stands at sites of any kind."""

from typing import Literal

import torch
from torch import nn

import surgeon
from surgeon.edits import Edit, Traits
from surgeon.methods import registry
from surgeon.methods.base import Cut, Proposal


class Bent(nn.Module):
    """x + 0.1 · sin(3 x): not linear, and of no other function's values."""

    def forward(self, x):
        return x + 0.1 * torch.sin(3 * x)


class Between(surgeon.Operation):
    op: Literal["between"] = "between"
    at: str = "activation"
    how: Literal["after", "before", "replace"] = "after"
    same: bool = False
    """Whether the layer changes nothing."""

    def propose(self, sites, context):
        chosen = self.chosen(sites, self.at)
        edits = [
            Edit(
                site=site.name,
                operation=self.op,
                layer=None if self.how == "replace" else f"{site.name}.between",
                before=self.how == "before",
                replaces=self.how == "replace",
                effect="exact" if self.same else "approximated",
                traits=Traits(linear=self.same),
                folds=self.same,
                note="" if self.same else "it is not linear",
            )
            for site in chosen.sites
        ]
        return Proposal(tuple(edits), chosen.passed_over)

    def build(self, edit, module, generator):
        made = nn.Identity() if self.same else Bent()
        return Cut(replacement=made) if self.how == "replace" else Cut(layer=made)

    def fold(self, edit, context):
        return None if self.same else super().fold(edit, context)


class _Point:
    def load(self):
        return Between


def plug(monkeypatch):
    """Have the registry know the operation."""
    monkeypatch.setattr(registry, "_plugged", lambda: {"between": _Point()})
