"""A lineage.json is somebody else's word: what does not fit is one line that names the key."""

import pytest

from surgeon.errors import ArtifactError
from surgeon.pipeline.lineage import lineage_of
from surgeon.pipeline.origin import Origin, written

GOOD = {
    "place": "",
    "data": "digits",
    "size": (1, 8, 8),
    "classes": ("0", "1"),
    "contents": {
        "training images": {"images": 3, "read": 3, "labels": "a", "pixels": "b"},
        "validation images": None,
        "test images": {"read": 0},
        "classes": ["0", "1"],
    },
}


def read(folder, **changed):
    folder.mkdir()
    text = written((Origin.model_construct(**{**GOOD, **changed}),))["lineage.json"]
    (folder / "lineage.json").write_text(text)
    return lineage_of(folder)


def test_what_surgeon_writes_is_read(tmp_path):
    (found,) = read(tmp_path / "good")
    assert found.contents == GOOD["contents"] and found.size == (1, 8, 8)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("contents", {"test images": 5}),
        ("contents", {"test images": [1]}),
        ("contents", {"test images": {"read": 1}}),
        ("contents", {"test images": {"read": 1, "images": "x"}}),
        ("contents", {"test images": {"read": True, "images": 1}}),
        ("contents", {"weights": {"a": 1}}),
        ("contents", {"classes": 7}),
        ("size", (8,)),
        ("size", (1, 0, 8)),
        ("size", (1, 10**6, 10**6)),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, key, value):
    with pytest.raises(ArtifactError, match=rf"lineage\.json cannot be read: .*{key}") as told:
        read(tmp_path / "odd", **{key: value})
    assert "\n" not in str(told.value)
