"""A study that would be refused is refused before anything is trained, with what works."""

import subprocess
import sys

import pytest

import surgeon
from surgeon.errors import SurgeonError
from surgeon.recipe import Evaluation, load_recipe


def test_a_folder_is_refused_at_once(tmp_path):
    surgeon.save(surgeon.create_model("zoo/lenet5"), tmp_path / "stock")
    command = ["study", "kap", str(tmp_path / "stock"), "--data", "digits", "-o", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-m", "surgeon", *command], capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and "give the network's name, and --weights FILE" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "evaluation", "said"),
    [
        (["kap.kernel_size=99"], {"suite": "basic"}, "kernel_size=99 exceeds"),
        ([], {"suite": "paper"}, "paper"),  # whose, of the stock network's arms?
    ],
)
def test_what_a_later_arm_would_be_refused_for_is_told_at_once(
    settings, evaluation, said, tmp_path, monkeypatch
):
    from surgeon.pipeline import study, studying

    monkeypatch.setattr(studying, "train", lambda *_, **__: pytest.fail("an arm was trained"))
    with pytest.raises(SurgeonError, match=said):
        study(
            [load_recipe("kap", settings)],
            "zoo/lenet5",
            tmp_path / "out",
            data="digits",
            evaluation=Evaluation(**evaluation),
        )
    assert not (tmp_path / "out").exists()
