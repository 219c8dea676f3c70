"""Images of a part of the folder that a network was trained on, and classes that differ by one late name."""

import shlex

import pytest

from surgeon.errors import DataError, at_the_command_line
from surgeon.pipeline.demands import Source, check_names, in_order
from surgeon.pipeline.origin import Origin
from surgeon.recipe import load_recipe
from tests.lineages import ORDER, evaluated, pictures, trained

NAMES = tuple(f"c{k:02}" for k in range(12))


def test_the_training_part_of_its_own_folder_is_told_as_seen(tmp_path):
    for part, first in (("train", 0), ("test", 50)):
        pictures(tmp_path / "images" / part, first=first)
    trained(tmp_path / "run", tmp_path / "images")
    (said,) = [
        n
        for n in evaluated(tmp_path / "run", tmp_path / "e", data=str(tmp_path / "images" / "train")).notes
        if "pixel by pixel" in n or "there is not known" in n
    ]
    assert "test images are pixel by pixel among the images that the network was trained on" in said
    notes = evaluated(tmp_path / "run", tmp_path / "f", data=str(tmp_path / "images" / "test")).notes
    told = ("pixel by pixel", "there is not known", "no test images of its own")
    assert not [n for n in notes if any(words in n for words in told)]


def known(classes):
    return (Origin.model_construct(classes=classes, num_classes=None),)


def test_the_name_that_differs_is_shown_where_lists_are_cut_short():
    other = (*NAMES[:10], "zebra", NAMES[11])
    with pytest.raises(DataError, match=r"\(zebra only here, c10 only there\)"):
        check_names("run", Source("images", None), other, known(NAMES), meant=False, how="say so")
    said = check_names("run", Source("images", None), other, known(NAMES), meant=True, how="")
    assert "(zebra only here, c10 only there): taken by number" in said


def test_a_setting_to_copy_has_every_name():
    assert in_order(NAMES) == f"say so by data.classes=[{', '.join(NAMES)}]"
    assert in_order(ORDER) == "say so by data.classes=[cat, bee, ape]"


@pytest.mark.parametrize(
    "names",
    [
        [str(k) for k in range(10)],
        ["y", "n", "yes", "no", "on", "off", "null", "~", "true"],
        ["1e3", "007", "1:30", "0x10", "-", "?", ".5"],
        ["a, b", "[c]", "d: e", "#f", " g ", "h'i", '"j"', "k\\l", "ü", "{m}", "n o"],
        [f"c{k}" for k in range(1000)],
    ],
)
def test_a_setting_to_copy_is_read_as_these_names(names):
    setting = in_order(tuple(names)).removeprefix("say so by ")
    assert load_recipe("plain", [setting]).data.classes == tuple(names)
    with at_the_command_line():
        option, word = shlex.split(in_order(tuple(names)).removeprefix("say so by "))
    assert (option, word) == ("--set", setting)
    wrong = tuple(reversed(names))
    with pytest.raises(DataError, match="give them in that order") as caught:
        check_names("run", Source("images", None), wrong, known(tuple(names)), meant=False, how="")
    assert str(caught.value).endswith(f"give them in that order, {setting}")
