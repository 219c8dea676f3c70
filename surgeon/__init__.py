"""surgeon: model surgery for robustness, by torch.fx graph rewriting.

    import surgeon, timm
    model = surgeon.apply(timm.create_model("resnet18"), "kap")

The public names load on first use, so that importing surgeon imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgeon.lazy import lazily

__version__ = "0.1.0"

_HOME = {
    "plan": "surgeon.surgery",
    "apply": "surgeon.surgery",
    "fold": "surgeon.surgery",
    "revert": "surgeon.surgery",
    "sites": "surgeon.surgery",
    "surgery_of": "surgeon.surgery",
    "RewrittenModule": "surgeon.surgery",
    "recipes": "surgeon.face",
    "operations": "surgeon.face",
    "select": "surgeon.face",
    "verify": "surgeon.verification",
    "save": "surgeon.store.artifact",
    "load": "surgeon.store.artifact",
    "export": "surgeon.store.exporting",
    "load_weights": "surgeon.models.checkpoints",
    "create_model": "surgeon.models",
    "Recipe": "surgeon.recipe",
    "load_recipe": "surgeon.recipe",
    "Plan": "surgeon.edits",
    "Selector": "surgeon.selection",
    "Operation": "surgeon.methods.base",
    "SurgeonError": "surgeon.errors",
}

_ROOMS = ("data", "evaluation", "insight", "methods", "models", "testing", "training")
"""Modules that are reached as attributes, and are imported then."""

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:  # what type checkers and editors see of the lazy names
    from surgeon import data as data
    from surgeon import evaluation as evaluation
    from surgeon import insight as insight
    from surgeon import methods as methods
    from surgeon import models as models
    from surgeon import testing as testing
    from surgeon import training as training
    from surgeon.edits import Plan as Plan
    from surgeon.errors import SurgeonError as SurgeonError
    from surgeon.face import operations as operations
    from surgeon.face import recipes as recipes
    from surgeon.face import select as select
    from surgeon.methods.base import Operation as Operation
    from surgeon.models.checkpoints import load_weights as load_weights
    from surgeon.models.creating import create_model as create_model
    from surgeon.recipe import Recipe as Recipe
    from surgeon.recipe import load_recipe as load_recipe
    from surgeon.selection import Selector as Selector
    from surgeon.store.artifact import load as load
    from surgeon.store.artifact import save as save
    from surgeon.store.exporting import export as export
    from surgeon.surgery import RewrittenModule as RewrittenModule
    from surgeon.surgery import apply as apply
    from surgeon.surgery import fold as fold
    from surgeon.surgery import plan as plan
    from surgeon.surgery import revert as revert
    from surgeon.surgery import sites as sites
    from surgeon.surgery import surgery_of as surgery_of
    from surgeon.verification import verify as verify


def _first() -> None:
    from surgeon.namesake import tell  # only now: the import of this package stays as fast as it is

    tell()


__getattr__, __dir__ = lazily(__name__, _HOME, _ROOMS, _first)
