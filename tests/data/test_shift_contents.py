"""A shifted set is known by what its files hold, not by their names."""

import pytest

pytest.importorskip("xxhash")

from surgeon.data import contents
from surgeon.data.shifted.files import hashed


@pytest.mark.parametrize("large", [False, True])
def test_files_that_were_replaced_under_their_names_are_another_set(tmp_path, monkeypatch, large):
    if large:  # a sample of the files alone is read
        monkeypatch.setattr(contents, "WHOLE", 10)
        monkeypatch.setattr(contents, "SAMPLE", 3)
    names = [f"{i}.png" for i in range(6)]
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes([i]) * 8)

    def now():
        return hashed(names, lambda i: tmp_path / names[i], len(names))

    before = now()
    assert now() == before
    (tmp_path / "0.png").write_bytes(bytes([9]) * 8)
    replaced = now()
    assert replaced != before
    (tmp_path / "5.png").write_bytes(bytes([5]) * 9)
    assert now() != replaced
