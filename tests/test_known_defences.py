"""The bench of the verdict: what counts as caught, and how its table counts."""

import pytest

pytest.importorskip("timm")
pytest.importorskip("matplotlib")


def test_a_headline_claims_something_where_its_interval_is_above_the_undefended_ones():
    from experiments.known_defences import claims

    assert claims(0.9, 0.2) and not claims(0.25, 0.2) and not claims(0.1, 0.2)


def test_broken_ones_are_caught_without_a_headline_or_without_a_claim_and_honest_ones_need_one():
    from experiments.known_defences import table

    base = {"clean": [0.9], "worst": [0.8], "headline": [1.0]}
    found = {
        "broken, claims": base | {"undefended clean": [0.9], "undefended worst": [0.1]},
        "broken, refused": base
        | {"headline": [0.0], "undefended clean": [0.9], "undefended worst": [0.1], "by losses": [1.0]},
        "broken, no better": base | {"worst": [0.1], "undefended clean": [0.9], "undefended worst": [0.1]},
        "honest, plain": base,
        "honest, failed": base | {"headline": [0.0], "by black-box": [1.0]},
    }
    lines = table(found).splitlines()
    assert "caught 0 of 1" in lines[2] and "caught 1 of 1" in lines[3] and "losses" in lines[3]
    assert "claims nothing" in lines[4]
    assert "1 of 1 with a number" in lines[5] and "0 of 1 with a number | black-box" in lines[6]
    assert "**2 of 3**" in lines[7] and "**1 of 2**" in lines[8]


def test_there_are_at_least_ten_of_each_kind(tmp_path):
    from experiments.known_defences import BROKEN, HONEST, rows

    names = [name.split(", ", 1)[0] for name in rows(tmp_path)]
    assert names.count(BROKEN) >= 10 and names.count(HONEST) >= 10
