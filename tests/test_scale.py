"""Growth over processes: what is counted, the model that is fitted, and the page made of both."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scale.model import Assumed, fitted, predicted
from benchmarks.scale.page import sections
from benchmarks.scale.wire import on_the_wire

ROOT = Path(__file__).parents[1]


def made_row(kind, exact, processes, drawn=0, sent=None):
    return {
        "kind": kind,
        "exact": exact,
        "processes": processes,
        "images": 16,
        "seconds": 1.0,
        "drawn": drawn * (processes if exact else 1),
        "sent": {} if processes == 1 else sent,
    }


def test_the_model_finds_the_constants_that_rows_were_made_with():
    calls, byte, number, synced = 2e-4, 3e-9, 5e-9, 4e-3
    compute, drawn, sizes = (
        {"plain": 0.02, "wide": 0.06, "kap": 0.03},
        {"kap": 10**6},
        {"plain": 10**6, "wide": 9 * 10**6},
    )
    rows = []
    for kind, own in compute.items():
        for exact in (True, False):
            for p in (1, 2, 4, 8):
                sent = {"gradients": [1, sizes.get(kind, 10**6)], "all_reduce": [40 if exact else 1, 8]}
                row = made_row(kind, exact, p, drawn.get(kind, 0), sent)
                wire = 2 * (p - 1) / p * (sent["gradients"][1] + 8)
                more = 0 if p == 1 else calls * (41 if exact else 2) + byte * wire + synced * exact
                row["cpu"] = own + more + number * (row["drawn"] - drawn.get(kind, 0))
                rows.append(row)
    found = fitted(rows)
    assert max(map(abs, found.residuals)) < 1e-6
    assert math.isclose(found.number, number, rel_tol=1e-4)
    assert math.isclose(found.byte, byte, rel_tol=1e-4)
    for kind, own in compute.items():
        assert math.isclose(found.compute[kind], own, rel_tol=1e-4)


def test_a_prediction_adds_up_its_parts():
    row = made_row("kap", True, 2, drawn=1000, sent={"gradients": [4, 10**8], "all_reduce": [100, 10**6]}) | {
        "images": 2
    }
    assumed = Assumed(1e-5, 1e10, 1e11, 0.5, 512, {"kap": 0.1})
    found = predicted(row, 8, assumed)
    assert math.isclose(found["calls"], 104 * 1e-5 * 3)
    assert math.isclose(found["bytes"], 1.75 * (0.5e8 + 1e6) / 1e10)
    assert math.isclose(found["draws"], 512 * 49 * 500 * 7 / 1e11)
    assert math.isclose(found["seconds"], sum(found[part] for part in ("compute", "calls", "bytes", "draws")))
    assert predicted(row | {"exact": False}, 8, assumed)["draws"] == 0


def test_rings_send_what_the_least_is():
    assert on_the_wire("all_reduce", 8.0, 2) == 8
    assert on_the_wire("all_gather", 8.0, 4) == 24
    assert on_the_wire("buffers", 8.0, 4) == 6
    assert on_the_wire("gradients", 8.0, 1) == 0


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("scale") / "scale.json"
    command = [sys.executable, "-m", "benchmarks.scale", "--small", "--output", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text()), done.stdout


def test_gradients_are_counted_to_the_byte(small):
    from benchmarks.growth import Chain

    rows, _ = small
    parameters = sum(p.numel() for p in Chain(4).parameters())
    of = {(r["kind"], r["exact"], r["processes"]): r for r in rows["steps"]["rows"]}
    for exact in (True, False):
        assert of["plain", exact, 1]["sent"] == {}
        assert of["plain", exact, 2]["sent"]["gradients"][1] == 4 * parameters
    # Forward and backward of each of four batch norms, sums and squares of 16 channels and the count, in float64.
    assert of["plain", True, 2]["sent"]["all_reduce"] == [9, 8 * 33 * 8 + 8]
    assert of["plain", False, 2]["sent"]["all_reduce"] == [1, 8]
    assert "buffers" in of["plain", False, 2]["sent"] and "buffers" not in of["plain", True, 2]["sent"]


def test_with_exact_a_process_draws_the_noise_of_all(small):
    of = {(r["exact"], r["processes"]): r["drawn"] for r in small[0]["steps"]["rows"] if r["kind"] == "kap"}
    assert of[True, 2] == 2 * of[False, 2] > 0


def test_the_page_tells_a_prediction_as_one(small):
    found, printed = small
    assert sections(found).strip() == printed.strip()
    assert "**Predicted, not measured**" in printed and "| 64 |" in printed


def test_what_is_received_grows_with_verdicts_and_with_a_store_nothing_is(small):
    rows = small[0]["evaluation"]["rows"]
    one, two = (r for r in rows if not r["store"])
    assert two["verdicts"] > one["verdicts"] and two["received"] > one["received"]
    one, two = (r for r in rows if r["store"])
    assert two["verdicts"] == 2 * one["verdicts"] and one["received"] == two["received"] == 0
