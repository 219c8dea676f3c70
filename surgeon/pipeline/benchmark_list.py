"""Whether the images of an evaluation are the 5,000 of ImageNet that RobustBench evaluates on."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from surgeon.data import HeldOut
from surgeon.data.sources import open_source
from surgeon.results.benchmark import TEST_IMAGES

_LIST = ("helper_files", "imagenet_test_image_ids.txt")


def of_the_list(data: str, root: str | None, test: HeldOut) -> bool:
    """Compare the names of test images with the list in RobustBench's package, which is not imported.

    Args:
        data: the source; only a folder names its images as the list does, `n01440764/ILSVRC2012_val_00000293.JPEG`.
        root: the folder that the source needs, if it needs one.
        test: the test images.

    Returns:
        Whether they are the list's; False where the package is not installed.
    """
    spec = importlib.util.find_spec("robustbench")
    if len(test.y) != TEST_IMAGES["imagenet"] or not Path(data).is_dir() or spec is None or not spec.origin:
        return False
    path = Path(spec.origin).parent.joinpath(*_LIST)
    if not path.is_file():
        return False
    entries = open_source(data, root).splits[test.split]
    files = [entries[i][0] for i in test.examples]
    if not all(isinstance(f, Path) for f in files):
        return False
    return {f"{f.parent.name}/{f.name}" for f in files} == {*path.read_text().split()}
