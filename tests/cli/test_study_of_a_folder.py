"""A study of a network in a folder is refused before anything is trained, with what works."""

import subprocess
import sys

import surgeon


def test_a_folder_is_refused_at_once(tmp_path):
    surgeon.save(surgeon.create_model("zoo/lenet5"), tmp_path / "stock")
    command = ["study", "kap", str(tmp_path / "stock"), "--data", "digits", "-o", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-m", "surgeon", *command], capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and "give the network's name, and --weights FILE" in line
    assert not (tmp_path / "out").exists()
