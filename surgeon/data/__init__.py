"""Images: from a source by name to training, validation and test sets."""

from surgeon.data.calibration import drawn
from surgeon.data.contents import contents_of, differing
from surgeon.data.faults import Faults
from surgeon.data.holdout import HeldOut, held_out, held_out_of, stratified
from surgeon.data.images import SPLITS, Images, pixels
from surgeon.data.iwildcam import iwildcam
from surgeon.data.labelled import images, labelled
from surgeon.data.lazy_images import Records, Stream
from surgeon.data.listing import SUFFIXES
from surgeon.data.scans import DIGITS_SIZE, digits
from surgeon.data.sets import Sets, load_sets
from surgeon.data.sources import absolute_source
from surgeon.data.splits import balanced, split

__all__ = [
    "DIGITS_SIZE",
    "SPLITS",
    "SUFFIXES",
    "Faults",
    "HeldOut",
    "Images",
    "Records",
    "Sets",
    "Stream",
    "absolute_source",
    "balanced",
    "contents_of",
    "differing",
    "digits",
    "drawn",
    "held_out",
    "held_out_of",
    "images",
    "iwildcam",
    "labelled",
    "load_sets",
    "pixels",
    "split",
    "stratified",
]
