"""The folder of an evaluation: it survives a kill, and belongs to one model and one evaluation."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from surgeon.errors import ArtifactError
from surgeon.evaluation import (
    Attack,
    Normalized,
    Store,
    Verdict,
    adversarial_images,
    evaluate,
    read_outcome,
    summarize,
)
from surgeon.evaluation.engine import blocks as engine
from tests.evaluation.attacks_used import MIXED, PGD, same

pytest.importorskip("torchattacks")
pytest.importorskip("scipy")


def test_a_folder_is_gone_on_with_and_belongs_to_one_evaluation(trained, tmp_path, monkeypatch):
    model, (x, y) = trained
    wanted = evaluate(model, x, y, MIXED)
    store = Store(tmp_path / "e", keep=True)
    assert same(evaluate(model, x, y, MIXED, store=store), wanted)
    assert same(read_outcome(tmp_path / "e"), wanted) and read_outcome(tmp_path / "e").missing == ()
    files = sorted((tmp_path / "e" / "blocks").iterdir())
    assert len(files) == 2 * len(MIXED)
    files[1].unlink()
    files[4].unlink()
    partial = read_outcome(tmp_path / "e")
    assert len(partial.missing) == 2
    summary = summarize(partial)
    assert not summary.complete and summary.headline is None and "2 blocks are missing" in summary.refused[0]
    calls = []
    attack = engine.run_attack
    monkeypatch.setattr(
        engine, "run_attack", lambda a, *r, **k: (calls.append(a.name), attack(a, *r, **k))[1]
    )
    assert same(evaluate(model, x, y, MIXED, store=Store(tmp_path / "e", keep=True)), wanted)
    assert len(calls) == 2
    with pytest.raises(ArtifactError, match=r"holds an evaluation with other settings \(attacks\)"):
        evaluate(model, x, y, PGD, store=Store(tmp_path / "e"))
    with pytest.raises(ArtifactError, match=r"other settings \(examples, images\)"):
        evaluate(model, x[:50], y[:50], MIXED, store=Store(tmp_path / "e"))
    with pytest.raises(ArtifactError, match=r"other settings \(weights\)"):
        other = Normalized(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
        evaluate(other, x, y, MIXED, store=Store(tmp_path / "e"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="exists already and holds no evaluation"):
        evaluate(model, x, y, PGD, store=Store(tmp_path / "full"))
    with pytest.raises(ArtifactError, match="holds no evaluation"):
        read_outcome(tmp_path / "full")


def test_a_folder_is_not_gone_on_with_for_a_model_that_says_something_else(trained, tmp_path):
    """Equal weights are no equal model: what wraps them may have changed since the evaluation began."""
    model, (x, y) = trained

    class Shifted(nn.Module):
        def __init__(self, model, shift):
            super().__init__()
            self.model, self.shift = model, shift

        def forward(self, x):
            return self.model(x.roll(self.shift, -1))

    evaluate(Shifted(model, 0), x, y, PGD, store=Store(tmp_path / "e"))
    with pytest.raises(
        ArtifactError, match=r"with these weights, .* decides otherwise on \d+ of the first 64 images"
    ):
        evaluate(Shifted(model, 2), x, y, PGD, store=Store(tmp_path / "e"))
    evaluate(Shifted(model, 0), x, y, PGD, store=Store(tmp_path / "e"), batch_size=5)


def test_a_random_model_and_a_source_are_known_by_what_they_say_too(trained, tmp_path):
    model, (x, y) = trained

    class Noisy(nn.Module):
        def __init__(self, sigma):
            super().__init__()
            self.model, self.sigma = model, sigma

        def forward(self, x):
            return self.model((x + self.sigma * torch.randn_like(x)).clamp(0, 1))

    given = {"draws": 9, "store": Store(tmp_path / "random")}
    evaluate(Noisy(0.01), x[:40], y[:40], PGD, **given)
    with pytest.raises(ArtifactError, match="decides otherwise"):
        evaluate(Noisy(5.0), x[:40], y[:40], PGD, **given)
    attack = [Attack(name="t", kind="own-pgd", eps=0.1, steps=2, source="s", cascade=False)]
    evaluate(model, x, y, attack, sources={"s": model}, store=Store(tmp_path / "source"))
    with pytest.raises(ArtifactError, match=r"other settings \(sources\)"):
        twin = Normalized(model.model, (0.9,), (0.1,))
        evaluate(model, x, y, attack, sources={"s": twin}, store=Store(tmp_path / "source"))


def test_kept_images_are_those_that_were_scored(exact, tmp_path):
    model, (x, y) = exact
    attacks = [a for a in MIXED if a.norm == "linf"]
    outcome = evaluate(model, x, y, attacks, store=Store(tmp_path / "e" / "attacks", keep=True))
    found = adversarial_images(tmp_path / "e" / "attacks", outcome, x)
    with torch.no_grad():
        right = model(found).argmax(1) == y
    assert int(right.sum()) == summarize(outcome).worst.k
    assert float((found - x).abs().max()) <= 0.05 + 1e-6
    moved = {v.example for v in outcome if v.success and v.attack != "none"}
    assert {i for i in range(96) if not torch.equal(found[i], x[i])} == moved


SCRIPT = """
import sys, os, signal
import torch
sys.path.insert(0, {tests!r})
torch.set_num_threads({threads})  # the same number as the process that they are compared with
if "WORLD_SIZE" in os.environ:
    from accelerate import PartialState
    PartialState(cpu=True)
from surgeon.evaluation import Store, evaluate, Normalized
from test_engine import MIXED
model, x, y = torch.load({data!r}, weights_only=False)
store = Store(sys.argv[1])
def kill(*_):
    if len(sys.argv) > 2 and len(list((store.folder / "blocks").glob("0*"))) >= 3:
        os.kill(os.getpid(), signal.SIGKILL)
outcome = evaluate(Normalized(model), x, y, MIXED, store=store, advance=kill)
if os.environ.get("RANK", "0") == "1":
    import json
    json.dump(len(outcome), open(sys.argv[1] + ".rank1", "w"))
sys.stdout.flush()
os._exit(0)
"""


def test_neither_a_kill_nor_two_processes_change_a_verdict(trained, tmp_path):
    model, (x, y) = trained
    x, y = x.repeat(2, 1, 1, 1), y.repeat(2)
    data = tmp_path / "data.pt"
    torch.save((model.model, x, y), data)
    script = tmp_path / "script.py"
    script.write_text(
        SCRIPT.format(tests=str(Path(__file__).parent), data=str(data), threads=torch.get_num_threads())
    )
    wanted = evaluate(model, x, y, MIXED)
    target = tmp_path / "killed"
    killed = subprocess.run([sys.executable, str(script), str(target), "killed"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert read_outcome(target).missing
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    subprocess.run(
        [sys.executable, *launch, str(script), str(target)], check=True, capture_output=True, timeout=600
    )
    found = read_outcome(target)
    assert found.missing == () and same(found, wanted)
    assert (tmp_path / "killed.rank1").read_text() == str(len(wanted.verdicts))


def test_a_verdict_is_a_row_that_comes_back_from_its_table(tmp_path):
    from surgeon.disk.files import read_parquet, write_parquet
    from surgeon.results.verdict import COLUMNS

    row = Verdict(
        example=3,
        image="ab",
        label=1,
        clean=1,
        margin=0.5,
        attack="cw",
        norm="l2",
        eps=None,
        success=True,
        prediction=2,
        votes=0.0,
    )
    assert set(COLUMNS) == set(Verdict.model_fields)
    write_parquet(tmp_path / "t.parquet", COLUMNS, [row.model_dump()])
    assert [Verdict(**r) for r in read_parquet(tmp_path / "t.parquet")] == [row]
    (tmp_path / "t.parquet").write_text("no table")
    with pytest.raises(ArtifactError, match="cannot be read as parquet"):
        read_parquet(tmp_path / "t.parquet")
