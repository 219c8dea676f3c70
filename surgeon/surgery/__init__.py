"""Plan, apply, fold and revert: where graphs and operations meet.

A network passes through these files in order: it is admitted (`door.py`) and looked at (`looking.py`), and its
edits are decided (`deciding.py`). For each start that is to be tried (`choice.py`) a copy is cut (`cutting.py`),
run (`measuring.py`) and, with calibration images, fitted to them (`fitting.py`, `refit.py`). The one that is kept
is recorded (`recording.py`). `applying.py` follows that order, and no file calls one before it; `replaying.py`
makes the cuts of a record again, `folding.py` undoes them.
"""

from surgeon.surgery.applying import apply
from surgeon.surgery.door import surgery_of
from surgeon.surgery.folding import fold, revert
from surgeon.surgery.looking import look, sites
from surgeon.surgery.planning import plan
from surgeon.surgery.replaying import replay
from surgeon.surgery.rewritten import RewrittenModule

__all__ = ["RewrittenModule", "apply", "fold", "look", "plan", "replay", "revert", "sites", "surgery_of"]
