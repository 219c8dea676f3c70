"""Smoke budgets of shipped protocols, end to end: run, gone on with, paged and verified."""

import json

import pytest

from surgeon.results.statistics import wilson

for package in ("timm", "accelerate", "sklearn", "torchattacks", "pyarrow", "jinja2", "matplotlib"):
    pytest.importorskip(package)

CHEAPEST = ("kap/tableA3", "kap/fig6", "anl/speed")


@pytest.fixture(scope="module", params=CHEAPEST)
def done(request, tmp_path_factory):
    from surgeon.pipeline import reproduce

    folder, told = tmp_path_factory.mktemp("smoke") / "run", []
    return folder, reproduce(request.param, folder, budget="smoke", device="cpu", tell=told.append), told


def test_every_cell_of_the_budget_is_measured(done):
    _, found, told = done
    assert found.finished and len(told) == found.wanted
    assert told[-1].startswith(f"{found.protocol.name} at smoke: run {found.wanted} of {found.wanted}, ")
    empty = {(row, n) for row, cells in found.rows.items() for n, cell in cells.items() if not cell.measured}
    assert empty <= {("NT", "from NT")}  # a network is no source of transfers to itself


def test_the_same_call_only_reads_and_gives_the_same_table(done):
    from surgeon.pipeline import reproduce

    folder, found, _ = done
    told = []
    again = reproduce(found.protocol.name, folder, budget="smoke", device="cpu", tell=told.append)
    assert told == [] and again == found


def test_the_folder_has_the_table_and_a_page_of_every_row(done):
    from surgeon.report.origin import origin_of

    folder, found, _ = done
    assert f"`{found.protocol.name}`" in (folder / "table.md").read_text(encoding="utf-8")
    assert len(origin_of(folder / "report.html")) == len(found.rows)


def test_a_folder_of_several_networks_is_told_from_one(done):
    import surgeon
    from surgeon.errors import ArtifactError

    with pytest.raises(ArtifactError, match=r"is a reproduction of several networks: .*work.*trained"):
        surgeon.load(done[0])


def test_the_folder_is_verified_from_the_verdicts_on(done):
    from surgeon.errors import ArtifactError
    from surgeon.pipeline import reproduce, verify_folder

    folder, found, _ = done
    checks = {c.name: c for c in verify_folder(folder)}
    assert [c for c in checks.values() if c.ok is False] == []
    assert checks["table.md"].ok and checks["protocol.json"].ok
    runs = [c for name, c in checks.items() if name.startswith("runs.json, ")]
    assert len(runs) == found.wanted and all(c.ok for c in runs)
    if found.protocol.name == "anl/speed":
        return
    file = folder / "runs.json"
    before = file.read_text(encoding="utf-8")
    content = json.loads(before)
    changed = next(c for c in content["runs"][0]["columns"].values() if c)
    flipped = str(1 - int(changed["right"][0])) + changed["right"][1:]
    changed.update(right=flipped, share=wilson(flipped.count("1"), len(flipped)).model_dump())
    try:
        file.write_text(json.dumps(content), encoding="utf-8")
        run = content["runs"][0]
        with pytest.raises(ArtifactError, match="its digest was made of"):
            reproduce(found.protocol.name, folder, budget="smoke")
        run["digest"] = ""
        file.write_text(json.dumps(content), encoding="utf-8")
        checks = {c.name: c for c in verify_folder(folder)}
        assert checks[f"runs.json, {run['row']}, seed {run['seed']}"].ok is False
        with pytest.raises(ArtifactError, match=r"runs\.json says of .*, seed 0, what .* does not"):
            reproduce(found.protocol.name, folder, budget="smoke")
    finally:
        file.write_text(before, encoding="utf-8")


def test_notes_in_the_table_are_no_change_of_it(done):
    from surgeon.pipeline import reproduce, verify_folder

    folder, found, _ = done
    table = folder / "table.md"
    before = table.read_text(encoding="utf-8")
    row = next(line for line in before.splitlines() if line.startswith(f"| {next(iter(found.rows))} |"))
    try:
        table.write_text(f"# My notes\n\n{before}\nThe first row is odd.\n", encoding="utf-8")
        reproduce(found.protocol.name, folder, budget="smoke", device="cpu")
        assert "The first row is odd." in table.read_text(encoding="utf-8")
        (check,) = [c for c in verify_folder(folder) if c.name == "table.md"]
        assert check.ok and "lines of somebody's" in check.detail
        table.write_text(
            table.read_text(encoding="utf-8").replace(row, row.replace("1", "7")), encoding="utf-8"
        )
        (check,) = [c for c in verify_folder(folder) if c.name == "table.md"]
        assert check.ok is False and row in check.detail
    finally:
        table.write_text(before, encoding="utf-8")


def test_the_time_of_a_run_is_not_that_of_its_last_process_alone(done):
    from surgeon.pipeline import reproduce
    from surgeon.pipeline.measuring import recorded_seconds
    from surgeon.pipeline.reproducing import place_of

    folder, found, _ = done
    if found.protocol.name == "anl/speed":
        return
    file = folder / "runs.json"
    before = file.read_text(encoding="utf-8")
    try:
        file.unlink()
        reproduce(found.protocol.name, folder, budget="smoke", device="cpu")
        for run in json.loads(file.read_text(encoding="utf-8"))["runs"]:
            recorded = recorded_seconds(place_of(folder, run["row"], run["seed"]))
            assert run["seconds"] >= round(recorded, 1) > 0
    finally:
        file.write_text(before, encoding="utf-8")
