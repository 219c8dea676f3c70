import hashlib

import pytest
import xxhash

from surgeon.disk.hashes import BLOCK, own_hash, sha256_of


@pytest.mark.parametrize("size", [0, 1, BLOCK, 2 * BLOCK + 3])
def test_hashes_are_those_of_the_whole_file(tmp_path, size):
    content = bytes(i % 251 for i in range(size))
    path = tmp_path / "file"
    path.write_bytes(content)
    assert own_hash(path) == "xxh3-128:" + xxhash.xxh3_128(content).hexdigest()
    assert sha256_of(path) == hashlib.sha256(content).hexdigest()
