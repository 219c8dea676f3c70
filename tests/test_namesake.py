"""A distribution `surgeon` that is another program is told once: by the command line, or at the first name in use."""

import subprocess
import sys
from pathlib import Path

import pytest

import surgeon
from surgeon.namesake import beside

METADATA = "Metadata-Version: 2.1\nName: surgeon\nVersion: 0.1\nSummary: A random find/replace library\n"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that holds this package, and the metadata of a distribution `surgeon`."""
    (tmp_path / "surgeon").symlink_to(Path(surgeon.__file__).parent)
    info = tmp_path / "surgeon-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return tmp_path


def called(site, *args):
    return subprocess.run(
        [sys.executable, *args], cwd=site, capture_output=True, text=True, check=True, timeout=300
    )


def test_the_command_line_tells_it_in_one_line(site):
    used = "try:\n    main(['--version'])\nfinally:\n    surgeon.SurgeonError\n"
    (site / "script.py").write_text(f"import surgeon\nfrom surgeon.cli import main\n{used}")
    done = called(site, "script.py")
    (line,) = done.stderr.splitlines()
    assert (
        line.startswith("warning: another program, the distribution surgeon 0.1")
        and "pip uninstall surgeon" in line
    )
    assert done.stdout.startswith("surgeon, version")


def test_the_first_name_that_is_used_tells_it_once_at_the_callers_line(site):
    code = "import surgeon\nsurgeon.SurgeonError\nfrom surgeon import select\nsurgeon.recipes\n"
    (site / "script.py").write_text(code)
    warned, quoted = called(site, "script.py").stderr.splitlines()
    assert "script.py:2: UserWarning: another program, the distribution surgeon 0.1" in warned
    assert quoted.strip() == "surgeon.SurgeonError"


def test_the_import_says_nothing_and_looks_at_no_metadata(site):
    done = called(site, "-c", "import sys, surgeon; print('importlib.metadata' in sys.modules)")
    assert (done.stdout.strip(), done.stderr) == ("False", "")


def test_an_installation_of_this_program_under_its_old_name_is_not_told(site):
    (site / "surgeon-0.1.dist-info" / "entry_points.txt").write_text(
        "[console_scripts]\nsurgeon = surgeon.cli:main\n"
    )
    assert not beside(str(site))


@pytest.mark.parametrize(
    "name, version",
    [
        ("surgeon-0.1.dist-info", "0.1"),
        ("surgeon-0.2-py3.12.egg-info", "0.2"),
        ("fx_surgeon-0.1.0.dist-info", None),
        ("surgeon_tools-1.0.dist-info", None),
        ("surgeon-0.1.txt", None),
    ],
)
def test_which_distributions_are_the_other_program(tmp_path, name, version):
    (tmp_path / name).mkdir()
    line = beside(str(tmp_path))
    assert f"the distribution surgeon {version}," in line if version else not line


def test_a_folder_that_cannot_be_read_holds_none(tmp_path):
    assert not beside(str(tmp_path / "surgeon.zip"))
