"""A distribution `surgeon` that is another program is told once, at the command line alone."""

import subprocess
import sys

import pytest

METADATA = "Metadata-Version: 2.1\nName: surgeon\nVersion: 0.1\nSummary: A random find/replace library\n"


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A folder on sys.path, in front of all others, that holds the metadata of a distribution `surgeon`."""
    info = tmp_path / "surgeon-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return info


def called(*args):
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, check=True, timeout=120)


def test_the_other_program_is_told_in_one_line(beside):
    done = called("-m", "surgeon", "--version")
    (line,) = done.stderr.splitlines()
    assert "another program, the distribution surgeon 0.1" in line and "pip uninstall surgeon" in line
    assert done.stdout.startswith("surgeon, version")


def test_an_installation_of_this_program_under_its_old_name_is_not(beside):
    (beside / "entry_points.txt").write_text("[console_scripts]\nsurgeon = surgeon.cli:main\n")
    assert not called("-m", "surgeon", "--version").stderr


def test_the_import_says_nothing_and_looks_at_no_metadata(beside):
    done = called("-c", "import sys, surgeon; print('importlib.metadata' in sys.modules)")
    assert (done.stdout.strip(), done.stderr) == ("False", "")
