"""What a training reads its images from."""

from __future__ import annotations

from typing import TypeAlias

from torch.utils.data import Dataset

from surgeon.data import Images
from surgeon.errors import DataError

Source: TypeAlias = "Images | Dataset"


def length_of(data: Source) -> int:
    """Return how many images a source has.

    Args:
        data: Images, a Dataset or an IterableDataset.

    Raises:
        DataError: It does not know.
    """
    if isinstance(data, Images):
        return len(data.x)
    try:
        return len(data)  # type: ignore[arg-type]  # the error is what is asked for
    except TypeError:
        raise DataError(
            "the data do not know how many images they have; wrap them so that len() does"
        ) from None
