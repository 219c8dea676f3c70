"""Plan, apply, fold and revert: where graphs and operations meet.

A network passes through these files in order: it is admitted (`door.py`) and looked at (`looking.py`), its
edits are decided (`deciding.py`) and carried out (`cutting.py`, with `hanging.py` and `tree.py`), started
from calibration images if there are any (`choice.py`, `refit.py`), measured (`drift.py`) and recorded
(`recording.py`). `applying.py` follows that order; `folding.py` undoes it.
"""

from surgeon.surgery.applying import apply
from surgeon.surgery.door import surgery_of
from surgeon.surgery.folding import fold, revert
from surgeon.surgery.looking import look, sites
from surgeon.surgery.planning import plan
from surgeon.surgery.replaying import replay
from surgeon.surgery.rewritten import RewrittenModule

__all__ = ["RewrittenModule", "apply", "fold", "look", "plan", "replay", "revert", "sites", "surgery_of"]
