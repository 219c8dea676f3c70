"""Images that were counted more than once, known by the hashes of their pixels. No torch here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from surgeon.results.findings import Finding


class Copies(NamedTuple):
    """How often images repeat one another.

    Attributes:
        images: number of images.
        distinct: number of distinct ones.
        disputed: number of distinct ones that have several labels.
    """

    images: int
    distinct: int
    disputed: int = 0

    @property
    def mostly(self) -> bool:
        """Whether fewer than half of the images are distinct: an interval of all is then too narrow by √2 or more."""
        return 2 * self.distinct < self.images

    def finding(self) -> Finding | None:
        """The remark; None where no image is another's copy."""
        if self.distinct == self.images:
            return None
        more = f", {self.disputed} of them with several labels" if self.disputed else ""
        text = (
            f"{self.images} test images are {self.distinct} distinct ones, pixel by pixel{more}: "
            "copies count as images of their own, and intervals are too narrow"
        )
        return Finding(code="copies", severity="warning", text=text)

    def refusal(self) -> str:
        """Why no number can be quoted; '' unless most images are copies."""
        return (
            f"most images are copies: {self.images} are {self.distinct} distinct ones" if self.mostly else ""
        )


def copies_of(images: Iterable[tuple[str, int]]) -> Copies:
    """Count distinct images.

    Args:
        images: (hash of the pixels, label) of each image; an empty hash is an image that is not known, and is
            taken to be no copy.

    Returns:
        The counts.

    Examples:
        >>> from surgeon.results.copies import copies_of
        >>> copies_of([("a", 0), ("a", 0), ("b", 1), ("b", 2)])
        Copies(images=4, distinct=2, disputed=1)
    """
    listed = list(images)
    counts = Counter(image for image, _ in listed if image)
    labels: Mapping[str, set[int]] = defaultdict(set)
    for image, label in listed:
        if image:
            labels[image].add(label)
    unknown = len(listed) - counts.total()
    return Copies(len(listed), unknown + len(counts), sum(len(classes) > 1 for classes in labels.values()))
