"""The demo and the run, small."""

import csv
import json

import pytest
import torch

import surgeon
from surgeon.errors import ArtifactError
from surgeon.recipe import load_recipe
from tests.killed import killed

for package in ("accelerate", "sklearn", "torchattacks", "matplotlib", "scipy"):
    pytest.importorskip(package)
SETTINGS = ["training.epochs=3", "training.batch_size=64", "evaluation.samples=40", "evaluation.steps=3"]
NARROW = {"channels": [8, 16, 32, 32]}


def test_the_demo_runs_prints_its_table_and_leaves_loadable_networks(tmp_path):
    from surgeon.demo import run

    rows = run(tmp_path / "demo", quick=True)
    assert [r.method for r in rows] == ["stock", "stock, fine-tuned", "kap", "anl"]
    assert all((r.clean.images, r.clean.seeds) == (64, 1) for r in rows)
    assert rows[3].effect == "kept exactly" and rows[3].start == rows[0].clean.value
    with (tmp_path / "demo" / "table.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    assert json.loads((tmp_path / "demo" / "table.json").read_text())["settings"]["quick"] is True
    assert (tmp_path / "demo" / "adversarial.png").stat().st_size > 10_000
    assert surgeon.load(tmp_path / "demo" / "models" / "kap").surgery.recipe == "kap"
    with pytest.raises(ArtifactError, match="exists already"):
        run(tmp_path / "demo", quick=True)


def test_an_accuracy_over_seeds_has_the_wider_of_two_intervals():
    from surgeon.demo import over
    from surgeon.evaluation import wilson

    equal = over([wilson(12, 120)] * 3)
    whole = wilson(36, 360)
    assert (equal.value, equal.low, equal.high) == (whole.value, whole.low, whole.high)
    torn = over([wilson(4, 120), wilson(12, 120), wilson(20, 120)])  # 4.30 · (1/15) / √3 is 0.1656
    assert torn.value == pytest.approx(0.1) and torn.low == 0 and torn.high == pytest.approx(0.2656, abs=1e-3)
    assert over([wilson(4, 120)]).high == wilson(4, 120).high and (torn.images, torn.seeds) == (360, 3)


def _run(folder, **more):
    from surgeon.pipeline import run

    return run(
        [load_recipe("anl", SETTINGS)], "resnet18", folder, input_size=(1, 16, 16), model_args=NARROW, **more
    )


def test_a_run_goes_through_its_stages_and_is_not_repeated(tmp_path):
    found = _run(tmp_path / "run")
    assert found.summary.clean.n == 40 and set(found.summary.robust) == {"fgsm", "pgd"}
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names == {
        ".surgeon.json",
        "settings.json",
        "recipe.yaml",
        "made.json",
        "faults.json",
        "cut",
        "training",
        "trained",
        "evaluation",
    }
    inside = {p.name for p in (tmp_path / "run" / "evaluation").iterdir()}
    assert inside == {
        ".surgeon.json",
        "settings.json",
        "attacks",
        "adaptive",
        "verdicts.parquet",
        "verdicts.csv",
        "evaluation.json",
        "model_info.json",
        "report.html",
    }
    stamp = (tmp_path / "run" / "evaluation" / "verdicts.csv").stat().st_mtime_ns
    assert _run(tmp_path / "run") == found
    assert (tmp_path / "run" / "evaluation" / "verdicts.csv").stat().st_mtime_ns == stamp
    with pytest.raises(ArtifactError, match=r"holds a run with other settings \(seed\)"):
        _run(tmp_path / "run", seed=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("x")
    with pytest.raises(ArtifactError, match="holds no run"):
        _run(tmp_path / "mine")


def test_a_killed_run_ends_like_one_that_was_not(tmp_path):
    """SIGKILL in the middle of training; the same command again; the same weights bit for bit."""
    from surgeon.cli import main

    args = [
        "run",
        "canl",
        "resnet18",
        "--input-size",
        "1,16,16",
        "--model-arg",
        "channels=[8,16,32,32]",
        "--set",
        "training.epochs=6",
        "--set",
        "training.batch_size=32",
        "--set",
        "evaluation.samples=16",
        "--set",
        "evaluation.steps=2",
    ]
    killed(*args, "-o", tmp_path / "killed")
    assert not (tmp_path / "killed" / "evaluation").exists()
    for folder in ("killed", "whole"):
        with pytest.raises(SystemExit) as stop:
            main([*args, "-o", str(tmp_path / folder)])
            raise SystemExit(0)
        assert not stop.value.code
    a, b = (surgeon.load(tmp_path / f / "trained").state_dict() for f in ("killed", "whole"))
    assert all(torch.equal(v, b[k]) for k, v in a.items())
    one, other = (
        json.loads((tmp_path / f / "evaluation" / "evaluation.json").read_text()) for f in ("killed", "whole")
    )
    assert one["summary"] == other["summary"] and one["subject"]["weights"] == other["subject"]["weights"]
