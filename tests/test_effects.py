"""What a record says of the function is what was measured of it."""

import pytest

from surgeon.edits import Edit, Execution, Plan
from surgeon.effects import WORST, Accuracy, Drift, measured_effect

KEPT = {"exact", "folds"}


def drift(agreement, source="calibration"):
    return Drift(relative=0.2, agreement=agreement, images=64, source=source)


def right(before, after, images=360):
    return Accuracy(images=images, before=before, after=after, both=min(before, after))


@pytest.mark.parametrize("planned", ["approximated", "destroyed"])
@pytest.mark.parametrize(
    "agreement, accuracy, effect",
    [
        (0.97, None, "approximated"),
        (0.969, None, "changed"),
        (0.499, None, "destroyed"),
        (1.0, right(337, 319), "changed"),  # 93.6 → 88.6 %: labels decide
        (0.9, right(340, 330), "approximated"),
        (0.9, right(340, 120), "destroyed"),
        (0.2, right(0, 0), "destroyed"),  # nothing was right before: labels say nothing
    ],
)
def test_labels_decide_and_then_predictions(planned, agreement, accuracy, effect):
    assert measured_effect(planned, drift(agreement), accuracy) == effect


@pytest.mark.parametrize("planned", sorted(KEPT))
def test_what_is_kept_by_construction_is_not_measured(planned):
    assert measured_effect(planned, drift(0.1)) == planned


def test_few_images_call_nothing_approximated():
    few = Drift(relative=0.0, agreement=1.0, images=31, source="calibration")
    assert measured_effect("approximated", few) == "changed"
    assert measured_effect("approximated", few, right(31, 31, images=31)) == "changed"
    assert measured_effect("approximated", few, right(32, 32, images=32)) == "approximated"


def test_noise_says_nothing_of_images():
    for found in (None, drift(1.0, "noise")):
        assert measured_effect("approximated", found) == "changed"
        assert measured_effect("destroyed", found) == "destroyed"


def plan(**execution):
    edits = (
        Edit(site="a", operation="kap", effect="approximated"),
        Edit(site="b", operation="kap", effect="approximated"),
        Edit(site="c", operation="noise"),
    )
    more = {"execution": Execution(**execution)} if execution else {}
    return Plan(model="m", fingerprint="f", edits=edits, **more)


def test_a_plan_says_what_it_aims_at_and_a_record_what_was_measured():
    before, after = plan(), plan(effect="changed", residuals={"a": 0.314})
    assert (before.planned, before.effect, before.told()) == ("approximated",) * 2 + ("to be approximated",)
    assert (after.planned, after.effect, after.told()) == ("approximated", "changed", "changed")
    assert [after.told(e) for e in after.edits] == ["fitted, error 0.31", "changed", "kept exactly"]
    for text in (str(after), after._repr_html_()):
        assert "approximated" not in text and "changed" in text


def test_a_record_without_a_measured_effect_says_what_was_planned():
    assert plan(statistics=3).effect == "approximated" and set(KEPT) < set(WORST)
