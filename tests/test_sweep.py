"""The sweep over all models: a sample of its pairs, drawn by a seed, and the machinery around them."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import coverage
from benchmarks.sweep import stages
from benchmarks.sweep.child import in_child, plans_of
from benchmarks.sweep.kinds import IDENTITY, draws, identity, kinds, needs_norm, recipes, representatives
from benchmarks.sweep.order import all_models, broad_first, family_of, share_of
from benchmarks.sweep.pair import LIGHT, run_pair
from benchmarks.sweep.rows import append, read
from benchmarks.sweep.subject import create, parameters_of

ROOT = Path(__file__).parents[1]
SEED, PARTS, MODELS, EACH = 7, 5, 2, 4
SMALL = 12_000_000
LARGE = re.compile(
    r"base|large|huge|giant|gigantic|so\d+m|_[lh]\d*_|x+l|101|152|200|269|350|420|_b[3-9]|[3-9]\d\dg?f?$"
)
"""Names that are not worth making a model of to see that it is too large."""


@pytest.mark.parametrize("part", range(PARTS))
def test_a_sample_of_pairs(part):
    draw = random.Random(f"{SEED}/{part}")
    names = [n for n in draw.sample(all_models(), len(all_models())) if not LARGE.search(n)]
    bad, done = [], 0
    while done < MODELS:
        name = names.pop()
        if parameters_of(name) > SMALL:
            continue
        subject = create(name)
        if subject.flops > LIGHT.flops:
            continue
        done += 1
        for number, recipe in enumerate(draw.sample(recipes(), EACH)):
            row = run_pair(subject, recipe, whole=number == 0)
            if row["outcome"] not in ("ok", "refused"):
                stage = next((s for s, r in row["stages"].items() if r == "failed"), "?")
                bad.append(f"{row['model']} × {recipe}: {stage}: {row['cause']} ({row.get('where')})")
    assert not bad, "\n".join(bad)


def test_every_recipe_has_a_kind_and_its_turn():
    groups = kinds()
    assert sorted(r for kind in groups.values() for r in kind) == sorted(recipes())
    for recipe, kind in (
        ("kap", "behind conv"),
        ("defective", "behind norm"),
        ("wm-unsharp", "in place of conv"),
        ("meansparse", "before activation"),
        ("kwta", "in place of activation"),
        ("input-noise", "behind input"),
    ):
        assert recipe in groups[kind], groups
    assert needs_norm("anl") and not needs_norm("defective") and not needs_norm("kap")
    assert set(IDENTITY) <= set(recipes())
    assert [identity(r) for r in ("advprop", "squeeze-excite", "wm-input-scale", "kwta")] == [
        [],
        [],
        [],
        None,
    ]
    assert all(map(draws, ("noise", "input-noise", "gaussian", "parametric-noise")))
    assert not any(map(draws, ("kap", "anl", "canl", "lat", "defective", "advprop")))
    turns = len(groups) * max(map(len, groups.values()))
    assert set().union(*(representatives(n) for n in range(turns))) == set(recipes())


def test_a_recipe_that_starts_from_images_is_swept_without_any():
    subject = create("resnet10t")
    row = run_pair(subject, "meansparse", whole=True)
    assert (row["outcome"], row["cause"]) == ("ok", "") and row["stages"]["save_load"] == "ok"
    assert row["stages"]["identity"] == "ok" and row["tensors"] == "real"


def test_models_are_swept_broad_first():
    names = broad_first(all_models(), {n: len(n) for n in all_models()})
    families = {family_of(n) for n in names}
    assert sorted(names) == sorted(all_models())
    assert len({family_of(n) for n in names[: len(families)]}) == len(families)


def test_shares_part_the_models():
    names = list("abcdefg")
    assert sorted(n for k in "123" for n in share_of(names, f"{k}/3")) == names
    assert share_of(names, "1/1") == names
    for wrong in ("0/2", "3/2", "2", "a/b", "1/0"):
        with pytest.raises(ValueError, match="must look like 2/3"):
            share_of(names, wrong)


class Output:
    """As much of a subject and a cut network as `stages.forward` asks for."""

    fake = False

    def __init__(self, effect, stock, single, double):
        self.output, self.outputs = stock, {None: single, torch.float64: double}
        self.surgery = SimpleNamespace(effect=effect, operations={"a": {"op": "small-image"}})


@pytest.mark.parametrize(
    ("effect", "stock", "single", "double", "message"),
    [
        ("approximated", [1.0], [float("inf")], [1e40], ""),
        ("approximated", [1.0], [float("nan")], [float("nan")], "nor is it in double"),
        ("exact", [1.0], [float("inf")], [1e40], "and the stock network's is"),
        ("exact", [1.0], [1.5], [1.5], "relative difference 5.0e-01"),
        ("approximated", [[[1.0]]], [[[1.0], [2.0]]], None, ""),  # more tokens of as many channels
        ("approximated", [[[1.0]]], [[[1.0, 2.0]]], None, "the output has shape"),
        ("approximated", [[1.0]], [[1.0, 2.0]], None, "the output has shape"),
    ],
)
def test_outputs_are_of_one_shape_finite_and_equal_where_the_record_says_so(
    monkeypatch, effect, stock, single, double, message
):
    stock, single, double = (
        None if v is None else torch.tensor(v, dtype=torch.float64) for v in (stock, single, double)
    )
    both = Output(effect, stock, single, double)
    monkeypatch.setattr(stages, "run", lambda subject, cut, dtype=None: both.outputs[dtype])
    monkeypatch.setattr(Output, "double", lambda self: self, raising=False)
    with pytest.raises(stages.Failed, match=message) if message else contextlib.nullcontext():
        assert stages.forward(both, both) is single


def rows_then(last):
    def work(name, left):
        yield {"model": name, "recipe": left[0], "outcome": "ok"}
        last()

    return work


@pytest.mark.parametrize(
    ("last", "cause"),
    [
        (lambda: bytearray(1 << 50), "MemoryError"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL"),
        (lambda: time.sleep(60), "over 2 s"),
        (lambda: sys.exit(3), "SystemExit: 3"),
    ],
)
def test_what_a_model_dies_of_is_a_row_and_the_next_pair_goes_on(last, cause):
    rows = list(in_child("resnet18", ["kap", "anl", "noise"], memory=64_000, seconds=2, work=rows_then(last)))
    assert [(r["recipe"], r["outcome"]) for r in rows] == [("kap", "ok"), ("anl", "died"), ("noise", "ok")]
    assert cause in rows[1]["cause"] and rows[1]["family"] == "resnet"


def test_a_model_that_dies_before_its_first_pair_is_not_tried_again_for_each():
    def work(name, left):
        raise MemoryError("no room")
        yield

    rows = list(in_child("resnet18", ["kap", "anl"], memory=64_000, seconds=20, work=work))
    assert [(r["recipe"], r["outcome"], r["cause"]) for r in rows] == [
        ("kap", "died", "MemoryError: no room"),
        ("anl", "died", "MemoryError: no room"),
    ]


def test_a_killed_sweep_goes_on_where_it_was(tmp_path):
    out = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "benchmarks.sweep", "--models", "test_byobnet", "--output", str(out)]
    command += ["--recipes", "anl,input-noise,kap"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        end = time.monotonic() + 120
        while not (out.is_file() and out.read_bytes().count(b"\n")) and time.monotonic() < end:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    before = out.read_bytes()
    kept = len(read(out))
    assert kept
    out.write_bytes(before + b'{"model": "test_byobnet", "rec')  # a line that the kill cut off
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes().startswith(before)
    assert [(r["recipe"], r["outcome"]) for r in read(out)] == [
        ("anl", "ok"),
        ("input-noise", "ok"),
        ("kap", "ok"),
    ]
    assert len(out.read_text().splitlines()) == 4


def row(model, recipe, outcome="ok", cause="", **stages):
    return {
        "model": model,
        "recipe": recipe,
        "family": model.split("_")[0],
        "outcome": outcome,
        "cause": cause,
        "edits": 2,
        "tensors": "real",
        "stages": stages,
    }


ROWS = [
    row("resnet_a", "kap", plan="ok", apply="ok"),
    row("resnet_b", "kap", "failed", "relative difference 3.1e-01", plan="ok", apply="failed"),
    row(
        "resnet_a",
        "anl",
        "refused",
        "SelectionError: recipe anl, operation adversarial-noise: no norm (3 × X)",
    ),
    row(
        "resnet_b",
        "anl",
        "refused",
        "SelectionError: recipe anl, operation adversarial-noise: no norm (25 × X)",
    ),
    row("vit_a", "kap", "died", "killed by SIGKILL"),
    row("vit_a", "gone", plan="ok"),
]


def test_the_page_is_a_function_of_the_rows(tmp_path):
    families = {"resnet": 3, "vit": 2, "dla": 1}
    page = coverage.page(ROWS, families, ["kap", "anl"])
    assert page == coverage.page([dict(r) for r in ROWS], families, ["kap", "anl"])
    assert "**3 of 6 models** swept, in 2 of 3 families: 5 of 12 pairs" in page
    assert "2 are refused for a stated reason; of the other 3, **1 are ok (33.33 %)**" in page
    assert "| 1 | apply | relative difference N | resnet_b × kap |" in page
    assert "| 1 | process | killed by SIGKILL | vit_a × kap |" in page
    assert "| 2 | 2 | no norm | anl |" in page
    assert "| resnet | 3 | 2 | 1 **1f** | 2r |" in page
    assert "| dla | 1 | 0 |  |  |" in page
    file = tmp_path / "rows.jsonl"
    append(file, [{**ROWS[0], "outcome": "failed"}])
    append(file, ROWS)
    assert coverage.page(read(file), families, ["kap", "anl"]) == page


def test_the_page_tells_how_many_layers_are_sites_and_what_anl_is_refused_with_any_norm():
    families = {"vit": 3, "resnet": 1}
    counted = {"layers": 10, "reached": 9}
    refused = [
        row(m, "anl", "refused", "SelectionError: no batch norm") | counted
        for m in ("vit_a", "vit_b", "vit_c")
    ]
    any_norm = [
        row("vit_a", "anl norms=any"),
        row("vit_b", "anl norms=any", "refused", "SelectionError: the model has no norm"),
    ]
    fine = row("resnet_a", "anl") | {"layers": 5, "reached": 5}
    page = coverage.page([*refused, *any_norm, fine], families, ["kap", "anl"])
    assert (
        "**32 of 35 convolutions and linear layers are sites (91.4 %)**, in 4 models; all of them in 1."
        in page
    )
    assert (
        "is refused on 3 of 4 models" in page and "norms=any` 1 of 2 are ok, and **1 remain refused**" in page
    )
    assert "(1 × the model has no norm)" in page
    assert "4 of 8 pairs with 2 recipes" in page  # a recipe with a setting is no recipe
    assert "broad first" not in page  # they are all there
    assert "broad first" in coverage.page(refused[:1], families, ["anl"])


def test_functions_that_a_large_models_code_calls_are_cut_without_data():
    subject = create("torchvision/googlenet").meta  # its activations are `F.relu`
    found = run_pair(subject, "kwta", whole=False)
    assert (found["outcome"], found["tensors"]) == ("ok", "fake") and found["edits"] > 50
    assert found["layers"] == found["reached"] == 64


def test_anl_has_its_place_behind_any_norm_in_a_row_of_its_own():
    subject = create("test_vit")
    rows = {r: run_pair(subject, r, whole=False) for r in ("anl", "anl norms=any")}
    assert rows["anl"]["outcome"] == "refused" and rows["anl norms=any"]["outcome"] == "ok"
    assert rows["anl norms=any"]["edits"] == 13


def test_a_page_of_nothing_says_so():
    page = coverage.page([], {"resnet": 3}, ["kap"])
    assert "**0 of 3 models** swept" in page and "## What failed\n\nNothing." in page


def test_reading_ignores_what_is_no_row(tmp_path):
    file = tmp_path / "rows.jsonl"
    append(file, ROWS[:1])
    file.write_text(file.read_text() + '{"mod')
    append(file, ROWS[1:2])
    assert read(file) == ROWS[:2]


@pytest.fixture(autouse=True)
def _one_thread():
    was = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(was)


def test_a_pair_tells_where_it_failed_and_a_refusal_after_the_plan_is_a_failure(monkeypatch):
    from benchmarks.sweep import stages
    from surgeon.errors import SelectionError

    subject = create("test_resnet")

    def fail(*_):
        raise SelectionError("too late")

    monkeypatch.setattr(stages, "apply", fail)
    found = run_pair(subject, "kap", whole=False)
    assert (found["outcome"], found["cause"]) == ("failed", "SelectionError: too late")
    assert found["stages"] == {"plan": "ok", "apply": "failed"}
    monkeypatch.setattr(stages, "plan", fail)
    assert run_pair(subject, "kap", whole=False)["outcome"] == "refused"


def test_the_page_is_written_and_its_first_line_printed_and_no_rows_leave_it(tmp_path, capsys, monkeypatch):
    rows, page = tmp_path / "rows.jsonl", tmp_path / "page.md"
    monkeypatch.setattr(
        "sys.argv",
        ["coverage", "--rows", str(rows), "--plans", str(tmp_path / "none"), "--output", str(page)],
    )
    with pytest.raises(SystemExit):
        coverage.main()
    assert "has no rows" in capsys.readouterr().err and not page.exists()
    row = {
        "model": "resnet18",
        "family": "resnet",
        "recipe": "kap",
        "outcome": "ok",
        "stages": {},
        "edits": 20,
    }
    append(rows, [row | {"cause": ""}])
    coverage.main()
    said = capsys.readouterr().out
    assert "**1 of " in said and "**1 are ok (100.00 %)**" in said
    assert said.strip() in page.read_text()


def test_pairs_that_are_planned_alone_count_for_anl_and_reach_but_not_as_swept(tmp_path):
    rows = {r["recipe"]: r for r in plans_of("test_vit", ["anl", "anl norms=any"])}
    assert rows["anl"]["outcome"] == "refused" and not rows["anl"]["stages"]
    found = rows["anl norms=any"]
    assert (found["outcome"], found["stages"], found["edits"]) == ("ok", {"plan": "ok"}, 13)
    append(file := tmp_path / "plans.jsonl", rows.values())
    fine = row("resnet_a", "anl") | {"layers": 5, "reached": 5}
    page = coverage.page([fine], {"vision_transformer": 3, "resnet": 1}, ["kap", "anl"], read(file))
    assert "**1 of 4 models** swept" in page and "1 of 8 pairs with 2 recipes" in page
    assert "is refused on 1 of 2 models. With `--set adversarial-noise.norms=any` 1 of 1 are ok" in page
    assert f"**{found['layers'] + 5} of {found['layers'] + 5} convolutions" in page


def test_a_line_has_what_the_row_has_and_says_nothing_twice(tmp_path):
    made = row("resnet18", "kap", "failed", "no | reason", plan="ok", identity="none", fold="failed")
    for whole in (made | {"family": "resnet"}, made | {"family": "another", "cause": "", "edits": 0}):
        append(file := tmp_path / "rows.jsonl", [whole])
        assert read(file) == [whole]
    first, second = file.read_text().splitlines()
    assert '"stages":"plan identity=none fold=failed"' in first and "family" not in first
    assert '"family":"another"' in second and "cause" not in second and "edits" not in second
