"""Methods without a page or a row of their own get them from what their rooms say."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "site"))

import method_pages  # noqa: E402
import public  # noqa: E402

from surgeon.methods import registry  # noqa: E402


def test_a_rooms_page_has_its_text_and_the_recipes_that_begin_with_it():
    made = method_pages.page("defective").splitlines()
    assert made[0] == "# Defective neurons" and "::: surgeon.methods.defective" in made
    written = (ROOT / "docs/methods/defective.md").read_text(encoding="utf-8")
    linked = [set(re.findall(r"recipes\.md#([\w-]+)", text)) for text in ("\n".join(made), written)]
    assert linked[0] == linked[1] == {"defective", "defective-same", "defective-channel"}


def test_a_row_that_is_missing_is_added_to_the_first_table():
    text = (ROOT / "docs/methods/index.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if "](kwta.md)" in line)
    without = "\n".join(line for line in text.splitlines() if line != row)
    added = (
        "| [k-winners-take-all](kwta.md) | the largest activations of each image stay, all others become 0 |"
    )
    lines = method_pages.with_rows(without).splitlines()
    assert lines[lines.index(added) - 1].startswith("| [")
    whole = [line for line in method_pages.with_rows(text).splitlines() if line != row]
    assert [line for line in lines if line != added] == whole


def test_every_shipped_operation_is_of_a_room_that_the_site_knows():
    for cls in registry._shipped().values():
        assert cls.__module__.split(".")[2] in public.ROOMS


def test_only_rooms_without_a_page_get_one():
    assert not [path for path in method_pages.missing() if (ROOT / "docs" / path).is_file()]
