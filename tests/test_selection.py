"""Selectors: globs, conditions, order, and the errors."""

import pytest

from surgeon.conditions import matches
from surgeon.errors import SelectionError
from surgeon.selection import Selector, Site, select

NAMES = [
    "conv1",
    "layer1.0.conv1",
    "layer1.0.conv2",
    "layer2.0.conv1",
    "layer2.0.downsample.0",
    "layer10.0.conv1",
]
SITES = [
    Site(
        name=n,
        kind="conv",
        cls="Conv2d",
        index=i,
        stage=i // 2,
        channels=16 * (i + 1),
        groups=1 + i % 2,
        kernel=(1, 1) if "down" in n else (3, 3),
    )
    for i, n in enumerate(NAMES)
] + [Site(name="bn1", kind="norm", cls="BatchNorm2d", index=6)]


def chosen(**settings):
    return [s.name for s in select(reversed(SITES), Selector(**settings), "conv").sites]


@pytest.mark.parametrize(
    ("name", "pattern", "fits"),
    [
        ("layer1.0.conv1", "layer1.*.conv?", True),
        ("layer10.0.conv1", "layer1.*.conv?", False),
        ("layer1.0.conv1", "layer1.*", False),
        ("layer1.0.conv1", "layer1.**", True),
        ("layer1.0.conv1", "**", True),
        ("layer1.0.conv1", "**.conv1", True),
        ("conv1", "**.conv1", True),
        ("layer1.0.conv1", "layer[12].**.conv1", True),
        ("layer1.0.conv1", "LAYER1.**", False),
        ("layer1.0.conv1", "layer1.**.0.**.conv1", True),
    ],
)
def test_globs_stay_inside_their_segment(name, pattern, fits):
    assert matches(name, pattern) is fits


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, NAMES),
        ({"include": "layer1.**"}, NAMES[1:3]),
        ({"exclude": ["**.downsample.**", "conv1"]}, [NAMES[1], NAMES[2], NAMES[3], NAMES[5]]),
        ({"stages": [1]}, NAMES[2:4]),
        ({"kernel": ">1"}, [n for n in NAMES if "down" not in n]),
        ({"kernel": 1}, [NAMES[4]]),
        ({"channels": ">=48"}, NAMES[2:]),
        ({"min_channels": 32, "max_channels": 64}, NAMES[1:4]),
        ({"groups": "1"}, NAMES[::2]),
        ({"first": 2}, NAMES[:2]),
        ({"last": 2}, NAMES[-2:]),
        ({"skip_first": 1, "skip_last": 1}, NAMES[1:-1]),
        ({"every": 2}, NAMES[::2]),
        ({"every": 2, "offset": 1}, NAMES[1::2]),
        ({"kernel": ">1", "every": 2, "offset": 1}, [NAMES[1], NAMES[3]]),
    ],
)
def test_conditions_choose_in_execution_order(settings, expected):
    assert chosen(**settings) == expected


def test_every_site_left_out_has_a_reason():
    found = select(
        SITES, Selector(include="layer*.**", exclude="layer10.**", kernel=">1", every=2), "conv", "kap"
    )
    reasons = {p.site: p.reason for p in found.passed_over}
    assert reasons == {
        "conv1": "not in include",
        "layer10.0.conv1": "excluded",
        "layer2.0.downsample.0": "kernel 1 is not >1",
        "layer1.0.conv2": "every=2, offset=0 skips it",
    }
    assert {p.operation for p in found.passed_over} == {"kap"}


def test_four_ways_to_find_nothing_are_four_texts():
    with pytest.raises(
        SelectionError, match=r"no conv site matches 'layer1.\*.cnov1'; did you mean 'layer1.0.conv1'"
    ):
        chosen(include="layer1.*.cnov1")
    with pytest.raises(SelectionError, match=r"all 2 conv sites that match include are excluded by '\*\*'"):
        chosen(include="layer1.**", exclude="**")
    with pytest.raises(
        SelectionError,
        match=r"1 of 2 conv sites are excluded, and the rest do not fit: 1 × kernel 3 is not 1",
    ):
        chosen(include="layer1.**", exclude="**.conv1", kernel="1")
    with pytest.raises(SelectionError, match=r"none of the 6 conv sites fits: .*the stages are \[0, 1, 2\]"):
        chosen(stages=[7])
    with pytest.raises(SelectionError, match=r"the model has no pool site \(it has: conv, norm\)"):
        select(SITES, Selector(), "pool")


def test_patterns_without_effect_are_remarked():
    found = select(SITES, Selector(include=("conv1", "nothing.*"), exclude="layer3.**"), "conv")
    assert len(found.remarks) == 2
    assert "include 'nothing.*' matches no conv site" in found.remarks[0]
    assert "exclude 'layer3.**' has no effect" in found.remarks[1]


@pytest.mark.parametrize(
    "bad", [{"kernel": "big"}, {"include": []}, {"every": 0}, {"offset": -1}, {"incude": "x"}]
)
def test_malformed_selectors_are_refused(bad):
    with pytest.raises(SelectionError, match="^Selector: "):
        Selector(**bad)
