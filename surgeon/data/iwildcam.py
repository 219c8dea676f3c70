"""The weight-map paper's iWildCam 2019 data (arXiv 1905.00568, section 4.3), from a folder with a sub-folder a class."""

from __future__ import annotations

from surgeon.recipe import Data

CLASSES = ("deer", "squirrel", "rodent", "fox", "coyote", "raccoon", "skunk", "cat", "dog", "opossum")


def iwildcam(per_class: int = 1000) -> Data:
    """Ten classes of equal size, cut class by class into 70 % training, 20 % validation and 10 % test; gray, 23×32.

    Here: 23 is the height and 32 the width, as camera traps' images are wider than high.
    """
    return Data(
        classes=CLASSES, per_class=per_class, val_share=0.2, test_share=0.1, grayscale=True, size=(23, 32)
    )
