"""A folder of images that the tests of the policy for data read."""

import pytest

from tests.data.written import write


@pytest.fixture
def folder(tmp_path):
    """Two classes of three images."""
    for c, name in enumerate("ab"):
        for i in range(3):
            write(tmp_path / "data" / name / f"{i}.png", 100 * c + i)
    return tmp_path / "data"
