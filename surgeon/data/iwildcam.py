"""The weight-map paper's iWildCam 2019 data (arXiv 1905.00568, section 4.3), one sub-folder per class."""

from __future__ import annotations

from surgeon.recipe import Data

CLASSES = ("deer", "squirrel", "rodent", "fox", "coyote", "raccoon", "skunk", "cat", "dog", "opossum")


def iwildcam(per_class: int = 1000) -> Data:
    """Settings for the data of the paper: ten classes of equal size, 70/20/10 % by class, gray, 23×32.

    Here: 23 is the height and 32 the width, as camera traps' images are wider than high.

    Args:
        per_class: images of each class.

    Returns:
        Settings for `load_sets`, with the folder of the classes as its source.

    Examples:
        >>> from surgeon.data import iwildcam
        >>> iwildcam().size, iwildcam().classes[:2]
        ((23, 32), ('deer', 'squirrel'))
    """
    return Data(
        classes=CLASSES, per_class=per_class, val_share=0.2, test_share=0.1, grayscale=True, size=(23, 32)
    )
