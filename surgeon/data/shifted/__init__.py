"""Published sets of shifted images, from a local path: corruptions, subsets of ImageNet, cue conflicts."""

from surgeon.data.shifted.opening import LAYOUTS, open_shift
from surgeon.data.shifted.outputs import Meant, outputs_of
from surgeon.data.shifted.sets import Part, ShiftSet

__all__ = ["LAYOUTS", "Meant", "Part", "ShiftSet", "open_shift", "outputs_of"]
