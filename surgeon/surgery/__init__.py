"""Surgery: the one room where graphs and operations meet. Plan, apply, fold, revert.

A network walks through it once: it is admitted (`door.py`), looked at (`looking.py`), its edits are decided (`deciding.py`),
carried out (`cutting.py`, with `hanging.py` and `tree.py`), started from images where there are some (`choice.py`, `refit.py`),
measured (`drift.py`) and recorded (`recording.py`). `applying.py` reads like that sentence; `folding.py` is the way back.
"""

from surgeon.surgery.applying import apply
from surgeon.surgery.cutting import replay
from surgeon.surgery.door import surgery_of
from surgeon.surgery.folding import fold, revert
from surgeon.surgery.looking import look, sites
from surgeon.surgery.planning import plan
from surgeon.surgery.rewritten import RewrittenModule

__all__ = ["RewrittenModule", "apply", "fold", "look", "plan", "replay", "revert", "sites", "surgery_of"]
