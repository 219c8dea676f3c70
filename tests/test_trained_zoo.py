"""The table of trained networks that kernel average pooling was put into: the page is made of the results."""

import json
from pathlib import Path

import pytest

pytest.importorskip("safetensors")
pytest.importorskip("timm")

PAGE = Path(__file__).parents[1] / "docs" / "conversion.md"


@pytest.fixture(scope="module")
def results():
    from experiments.trained_zoo import RESULTS

    return json.loads(RESULTS.read_text(encoding="utf-8"))


def test_the_pages_table_is_made_of_the_results(results):
    from experiments.trained_zoo import table

    assert table(results) in PAGE.read_text(encoding="utf-8")


def test_what_is_called_approximated_loses_at_most_three_points_of_images_that_were_not_seen(results):
    from experiments.trained_zoo import lost

    approximated = [n for n, one in results.items() if one["with images"]["effect"] == "approximated"]
    assert [n for n in approximated if lost(results[n]) > 0.03] == []
    assert all(
        one["before"] / one["images"] > 0.85 for one in results.values()
    )  # a trained network, in each row


def test_a_network_that_loses_more_is_named_under_the_table(results):
    from experiments.trained_zoo import NETWORKS, table

    name, one = next(iter(results.items()))
    fallen = one | {
        "with images": one["with images"] | {"effect": "approximated", "after": one["before"] // 2}
    }
    text = table({name: fallen})
    assert f"**Missed** by {name}." in text
    assert f"Not measured yet: {', '.join(n for n in NETWORKS if n != name)}." in text
