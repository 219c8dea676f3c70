"""Pictures that explain what a surgery did: one idea a file, each with a function that measures and one that
draws.

`pictures` makes all that apply to a model. Needs matplotlib, of the extra `report`.
"""

from surgeon.insight.album import pictures
from surgeon.insight.picture import Picture

__all__ = ["Picture", "pictures"]
