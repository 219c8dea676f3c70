"""The page of what surgery costs: a file a machine, a column a machine, and where a bar is missed."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from benchmarks import machines, page, profile
from benchmarks.bars import BARS, bar_of
from benchmarks.timing import Asked, Row

ROOT = Path(__file__).parents[1]
STEP = "training step, ResNet-18"


def line(ratio, what="CANL", group=STEP, **more):
    return Row(group, what, "stock", ratio, ratio - 0.01, ratio + 0.01, 0.002, 0.001, **more)


def run(device, *rows, group="networks"):
    made = {"device": device, "caches": "L1 32K", "torch": "2"}
    return {"groups": {group: {"made": made, "rows": [asdict(r) for r in rows]}}}


def test_a_line_that_is_kept_on_one_machine_and_missed_on_another_is_told_as_missed(tmp_path):
    machines.keep(
        run("Fast CPU (AVX512)", line(1.05), line(9.0, "drawing its noise, alone")), "cpu", tmp_path
    )
    machines.keep(run("Slow CPU (AVX2)", line(1.09), line(1.3, "ANL")), "cpu", tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fast-cpu-avx512.json", "slow-cpu-avx2.json"]
    text = page.bench_table(machines.read(tmp_path))
    head = text.splitlines()[0]
    assert "| bar | fast-cpu-avx512 | slow-cpu-avx2 | missed on |" in head
    both = next(x for x in text.splitlines() if "| CANL |" in x)
    assert (
        "| ≤ 1.06 | 1.05 (1.04–1.06, 2 by 1 ms) | 1.09 (1.08–1.10, 2 by 1 ms) | **slow-cpu-avx2** |" in both
    )
    one = next(x for x in text.splitlines() if "| ANL |" in x)
    assert "| ≤ 1.7 |  | 1.30 (1.29–1.31, 2 by 1 ms) |  |" in one
    assert all(x.count("|") == head.count("|") for x in text.splitlines() if x.startswith("|"))
    assert "1 of 2 lines with a bar miss it" in text
    assert "- **slow-cpu-avx2**: device Slow CPU (AVX2), caches L1 32K, torch 2" in text


def test_a_file_is_named_by_what_tells_processors_apart():
    assert machines.name_of("Intel(R) Xeon(R) Processor (AVX512)") == "intel-xeon-avx512"
    assert machines.name_of("AMD EPYC (AVX2)") == "amd-epyc-avx2"


def test_notes_that_differ_carry_the_machine():
    rows = [replace(line(1.0), note="a"), replace(line(1.0), note="b")]
    two = [machines.Machine(n, "cpu", ({"device": n},), (r,)) for n, r in zip("xy", rows, strict=True)]
    assert "| x: a; y: b |" in page.bench_table(two)
    same = [replace(m, rows=(rows[0],)) for m in two]
    assert "| a |" in page.bench_table(same) and "x: a" not in page.bench_table(same)


def test_a_group_that_is_measured_again_replaces_its_lines_and_no_others(tmp_path):
    machines.keep(run("A", line(1.0)), "cuda", tmp_path)
    machines.keep(run("A", line(3.0), group="formats"), "cuda", tmp_path)
    machines.keep(run("A", line(2.0)), "cuda", tmp_path)
    (found,) = machines.read(tmp_path)
    assert [r.ratio for r in found.rows] == [2.0, 3.0] and found.kind == "cuda"


def test_bars_depend_on_the_device_and_are_those_of_today(tmp_path):
    assert (bar_of(STEP, "ANL", "stock", "cpu"), bar_of(STEP, "ANL", "stock", "cuda")) == (1.70, 1.75)
    form = f"{STEP}, bfloat16, channels_last"
    assert (bar_of(form, "ANL", "stock", "cpu"), bar_of(form, "ANL", "stock", "cuda")) == (None, 1.75)
    assert bar_of("surgery, resnet50", "plan + apply defective", "timm.create_model", "cpu") == 1.2
    assert bar_of("surgery, resnet50", "plan + apply anl", "timm.create_model", "cpu") == 2.0
    assert bar_of(STEP, "stock once more", "stock", "cpu") is None
    machines.keep(run("A", line(1.65, "ANL", bar=1.5)), "cpu", tmp_path)
    (found,) = machines.read(tmp_path)
    assert found.rows[0].bar == 1.70 and found.rows[0].kept


def test_each_bar_is_of_a_line_that_was_measured():
    rows = [r for m in machines.read() for r in m.rows]
    for group, what, against, _ in BARS:
        if group in ("evaluation, who knows the cut", "evaluation, accuracy by ε"):
            continue  # of the group verdicts, which not every machine of the page has
        assert any(
            fnmatchcase(r.group, group) and fnmatchcase(r.what, what) and fnmatchcase(r.against, against)
            for r in rows
        ), (group, what)


def test_the_page_is_what_the_kept_files_say():
    """Nobody edits the tables by hand, and no bar changes without them."""
    text = page.PAGE.read_text(encoding="utf-8")
    for kind, mark in page.MARKS.items():
        table = page.bench_table([m for m in machines.read() if m.kind == kind])
        assert page.between(text, mark, table) == text, f"python -m benchmarks.page, for {mark}"


def test_machines_that_ran_nothing_newer_say_where_their_lines_are_from():
    for machine in machines.read():
        assert machine.source or all({"torch", "surgeon"} <= made.keys() for made in machine.made)


def test_a_command_keeps_a_run(tmp_path, monkeypatch, capsys):
    for name in ("PAGE", "SCALE"):
        monkeypatch.setattr(page, name, tmp_path / f"{name}.md")
    kept = tmp_path / "measured"
    monkeypatch.setattr(page, "keep", lambda found, kind: machines.keep(found, kind, kept))
    monkeypatch.setattr(page, "read", lambda: machines.read(kept))
    monkeypatch.setattr(page, "RUNS", tmp_path)
    marks = "".join(f"<!-- {m} -->\nold\n<!-- /{m} -->\n" for m in ("bench", "bench-cuda"))
    page.PAGE.write_text(marks, encoding="utf-8")
    bench = tmp_path / "bench-cuda.json"
    bench.write_text(json.dumps(run("A GPU", line(1.2))), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["page", "--keep", str(bench)])
    page.main()
    assert "a-gpu.json" in capsys.readouterr().out
    written = page.PAGE.read_text(encoding="utf-8")
    assert "old" not in written and "**a-gpu**" in written.partition("<!-- bench-cuda -->")[2]
    assert "a-gpu" not in written.partition("<!-- bench-cuda -->")[0]


def test_a_profile_tells_the_operations_that_a_task_has_beyond_its_baseline():
    import torch

    x = torch.randn(64, 64)
    own = profile.profiled(lambda: torch.tanh(x @ x).erfinv(), 2)
    base = profile.profiled(lambda: x @ x, 2)
    lines = {line.operation: line for line in profile.compared(own, base)}
    assert lines["aten::tanh"].own.calls == 1 and lines["aten::tanh"].base == profile.Spent()
    assert lines["aten::mm"].own.calls == lines["aten::mm"].base.calls == 1
    assert lines["aten::tanh"].more > 0
    for side in ("own_share", "base_share"):
        assert abs(sum(getattr(line, side) for line in lines.values()) - 1) < 1e-6
    differences = [abs(line.more) for line in profile.compared(own, base)]
    assert differences == sorted(differences, reverse=True)


def test_lines_are_named_and_networks_are_made_on_the_way():
    names = [name for name, _, _ in profile.named(Asked(small=True), ("networks", "cutting"))]
    assert f"{STEP}/KAP, σ=0.1" in names and "surgery, resnet18/plan + apply defective" in names


@pytest.mark.parametrize("row", [f"{STEP}/drawing its noise, alone", f"{STEP}/KAP σ=0.1"])
def test_the_command_prints_a_table_or_what_is_near(row):
    command = [sys.executable, "-m", "benchmarks.profile", row, "--small", "--times", "1", "--lines", "60"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if "alone" in row:
        assert done.returncode == 0, done.stderr
        assert "aten::normal_" in done.stdout and "stock: ms" in done.stdout
    else:
        assert done.returncode == 2 and f"{STEP}/KAP, σ=0.1" in done.stderr


def test_lines_that_differ_in_their_baseline_alone_have_names_of_their_own():
    names = [name for name, _, _ in profile.named(Asked(small=True), ("maps",))]
    assert len(names) == len({*names})
    assert "weight map, forward/unsharp, 2 × 4 × 6²/torch.bmm" in names
