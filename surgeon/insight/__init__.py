"""Pictures that explain what a surgery did: each file measures one quantity and draws it.

`pictures` makes all pictures that apply to a model. Needs matplotlib (extra `report`).
"""

from surgeon.insight.album import pictures
from surgeon.insight.picture import Picture

__all__ = ["Picture", "pictures"]
