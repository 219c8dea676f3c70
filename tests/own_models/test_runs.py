"""Own code through whole jobs: trained by name, trained on from its folder, evaluated where its module is allowed."""

import sys

import pytest

from tests.cli.commandline import invoke
from tests.own_models.test_naming import code  # noqa: F401 - a fixture

QUICK = ["--set", "training.epochs=1", "--input-size", "3,8,8", "--device", "cpu"]


def test_a_run_of_own_code_needs_its_name_and_its_folder_needs_permission(code, tmp_path, monkeypatch):  # noqa: F811
    pytest.importorskip("accelerate")
    pytest.importorskip("torchattacks")
    monkeypatch.chdir(tmp_path)
    done, _, err = invoke("train", "plain", "mine.nets:Net", *QUICK, "-o", "run")
    assert done == 0, err
    for name in [n for n in sys.modules if n.partition(".")[0] == "mine"]:
        del sys.modules[name]
    evaluate = [
        "evaluate",
        "run",
        "--suite",
        "basic",
        "--samples",
        10,
        "--set",
        "attacks=[fgsm]",
        "--device",
        "cpu",
    ]
    refused, _, err = invoke(*evaluate, "-o", "found")
    assert refused == 2
    assert "--allow-code mine.nets" in err
    assert "mine.nets" not in sys.modules
    done, _, err = invoke(*evaluate, "-o", "found", "--allow-code", "mine.nets")
    assert done == 0, err
    on = ["train", "plain", "run/trained", *QUICK, "-o", "on"]
    assert invoke(*on)[0] == 2
    done, _, err = invoke(*on, "--allow-code", "mine.nets")
    assert done == 0, err
