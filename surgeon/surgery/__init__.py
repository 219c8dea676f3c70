"""Surgery: the one room where graphs and operations meet. Plan, apply, fold, revert."""

from surgeon.surgery.cutting import apply, replay
from surgeon.surgery.folding import fold, revert
from surgeon.surgery.planning import look, plan, sites

__all__ = ["apply", "fold", "look", "plan", "replay", "revert", "sites"]
