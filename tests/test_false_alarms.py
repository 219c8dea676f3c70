"""The table of the diagnostics' false alarms and misses: it is what the results give, and it says what the
page says."""

import json

import pytest

from tests.test_readme import EVALUATION

pytest.importorskip("safetensors")
pytest.importorskip("timm")


def results():
    from experiments.false_alarms import RESULTS

    return json.loads(RESULTS.read_text(encoding="utf-8"))


def test_the_pages_table_is_made_of_the_results():
    from experiments.false_alarms import table

    assert table(results()) in EVALUATION


def test_no_plain_network_that_has_learnt_something_was_failed_and_no_masked_one_was_passed():
    found = results()
    plain = [r for r in found if r.endswith("epochs")]
    honest = [*plain, *(r for r in found if r.endswith("adversarially trained"))]
    assert len({r for r in plain if r.startswith("digits")}) == 20
    assert len({r.split(", ")[1] for r in plain}) == 4 and len({r.split(", ")[2] for r in plain}) == 5
    failed = {r for r in honest if found[r]["reliable"] != [1.0]}
    assert failed == {"mnist, narrow ResNet, 1 epochs"}  # nine of 128 images are right: chance, and too few
    assert all("failed: few-images" in found[r] and found[r]["clean"][0] < 0.1 for r in failed)
    masked = set(found) - set(honest)
    assert {r.split(", ")[2] for r in masked} >= {
        "logits × 10⁴",
        "quantised input",
        "noisy input",
        "saturated softmax",
    }
    winners = {
        r for r in masked if r.endswith("k winners")
    }  # whose gradients are worth nothing on one of the two tasks
    assert all(v == 0 for r in masked - winners for v in found[r]["reliable"])
    assert any(v == 0 for r in winners for v in found[r]["reliable"])


def test_false_alarms_are_counted_with_their_interval():
    from experiments.false_alarms import table

    made = {
        f"digits, MLP, {e} epochs": {"clean": [0.5, 0.9], "reliable": [1.0, float(e > 1)]} for e in (1, 2)
    }
    made["digits, MLP, 1 epochs"]["failed: losses"] = [1.0]
    line = table(made).splitlines()[2]
    assert line == "| plainly trained, digits | 4 | 50–90 % | 1 | 4.6–69.9 % | losses 1 |"
