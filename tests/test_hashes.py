import hashlib
import json

import pytest
import xxhash

import surgeon
from surgeon.disk.hashes import BLOCK, own_hash, same_kind, sha256_of
from surgeon.errors import ArtifactError


@pytest.mark.parametrize("size", [0, 1, BLOCK, 2 * BLOCK + 3])
def test_hashes_are_those_of_the_whole_file(tmp_path, size):
    content = bytes(i % 251 for i in range(size))
    path = tmp_path / "file"
    path.write_bytes(content)
    assert own_hash(path) == "xxh3-128:" + xxhash.xxh3_128(content).hexdigest()
    assert sha256_of(path) == hashlib.sha256(content).hexdigest()
    assert same_kind(path, own_hash(path)) == own_hash(path)
    assert same_kind(path, "0" * 64) == sha256_of(path)


def test_a_folder_from_before_is_checked_by_its_sha256(tmp_path):
    folder = tmp_path / "out"
    stock = surgeon.create_model("test_resnet", num_classes=3)
    surgeon.save(surgeon.apply(stock, "noise", input_size=(3, 32, 32)), folder)
    config = json.loads((folder / "config.json").read_text())
    names = list(config["surgery"].pop("hashes"))
    config["surgery"]["sha256"] = {n: sha256_of(folder / n) for n in names}
    (folder / "config.json").write_text(json.dumps(config))
    surgeon.load(folder)
    with (folder / names[0]).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    with pytest.raises(ArtifactError, match=r"has changed since it was written: its hash is [0-9a-f]{21}…"):
        surgeon.load(folder)
