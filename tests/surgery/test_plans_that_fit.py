"""What a plan shows can be carried out: settings that give other sizes are refused at the plan, by their names."""

import pytest
import timm

import surgeon
from surgeon.errors import RecipeError, SelectionError, SurgeryError
from tests.cli.commandline import invoke

SIZE = (3, 32, 32)


@pytest.fixture
def net():
    return timm.create_model("resnet18", num_classes=4, channels=(16, 16, 16, 16), layers=(1, 1, 1, 1))


def test_channels_that_nothing_behind_takes_are_refused_at_the_plan(net):
    with pytest.raises(SurgeryError, match=r"widen=False.*does not fit together at node bn1.*widen=True"):
        surgeon.plan(net, {"op": "kap", "stride": 2, "widen": False}, input_size=SIZE)
    code, _, error = invoke(
        "plan",
        "kap",
        "resnet18",
        "--input-size",
        "3,32,32",
        "--set",
        "kap.stride=2",
        "--set",
        "kap.widen=false",
    )
    assert code == 2 and "widen=false" in error and "traceback" not in error.lower()


@pytest.mark.parametrize("size", [2, 4])
def test_a_filter_that_gives_another_size_is_refused_at_the_plan(net, size):
    recipe = {"op": "weight-map", "kernel_size": size, "select": {"include": "layer1.**"}}
    with pytest.raises(SelectionError, match=f"kernel_size={size} in place of 3×3"):
        surgeon.plan(net, recipe, input_size=SIZE)


def test_a_filter_that_keeps_the_size_is_planned_and_cut(net):
    for size in (1, 3, 5):
        recipe = {"op": "weight-map", "kernel_size": size, "select": {"include": "layer1.**"}}
        assert surgeon.apply(net, recipe, input_size=SIZE).surgery.edits


def test_an_even_window_of_smooth_init_names_no_setting_that_it_has_not(net):
    with pytest.raises(RecipeError, match="3 or 5") as caught:
        surgeon.plan(net, {"op": "smooth-init", "kernel_size": 4}, input_size=SIZE)
    assert "even'" not in str(caught.value) and "even=" not in str(caught.value)
