"""The table of the bench of the verdict: it is what the results give, and it says what the page says."""

import json

import pytest

from tests.test_readme import EVALUATION

pytest.importorskip("safetensors")
pytest.importorskip("timm")


def results():
    from experiments.known_defences import RESULTS

    return json.loads(RESULTS.read_text(encoding="utf-8"))


def test_the_pages_table_is_made_of_the_results():
    from experiments.known_defences import table

    assert table(results()) in EVALUATION


def test_every_row_of_the_bench_was_run(tmp_path):
    from experiments.known_defences import rows

    assert set(results()) == set(rows(tmp_path))


def test_no_broken_defence_claims_more_than_the_undefended_network_and_honest_ones_have_a_number():
    from experiments.known_defences import claims

    for row, figures in results().items():
        for k, headline in enumerate(figures["headline"]):
            if row.startswith("honest"):
                assert headline, row
            elif headline:
                assert not claims(figures["worst"][k], figures["undefended worst"][k]), row


def test_what_the_page_says_of_single_rows():
    found = {row.removeprefix("broken, "): f for row, f in results().items() if row.startswith("broken")}
    known = {"k winners", "MeanSparse, α = 0.2"}
    random = {
        "resized and padded at random",
        "activations pruned at random",
        "networks that switch at random",
    }
    assert {row for row, f in found.items() if f["headline"] == [1.0]} == known | random
    assert all(found[row]["worst"][0] < found[row]["itself"][0] for row in known)
    alone = found["MeanSparse, α = 0.4"]
    assert {k for k in alone if k.startswith("by ")} == {"by unbounded"}


def test_no_honest_network_fails_an_indicator_of_attack_failure():
    four = {
        f"by {c}"
        for c in ("silent-success", "incomplete-optimisation", "transfer-failure", "bad-initialisation")
    }
    assert not any(four & set(f) for row, f in results().items() if row.startswith("honest"))
