"""A network walks through a surgery once: few rooms, and no step calls an earlier one."""

import functools
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import surgeon
import surgeon.surgery  # loaded here: a walk is of calls alone
from surgeon.errors import CalibrationWarning

ROOMS = Path(surgeon.__file__).parent / "surgery"
SIZE = (3, 8, 8)
MOST = 10


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.act1 = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()
        self.conv2, self.bn2, self.act2 = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        x = self.act1(self.bn1(self.conv1(x)))
        return self.fc(self.act2(self.bn2(self.conv2(x))).mean((2, 3)))


class Walk:
    """The files of surgeon/surgery/ in the order in which a call enters them, and who calls whom.

    A call through other code, such as a pass over a graph that calls back, is one by the last of these files that was
    left for it.
    """

    def __init__(self, done):
        self.rooms, self.arrows, self.steps = [], set(), []
        sys.setprofile(self._seen)
        try:
            done()
        finally:
            sys.setprofile(None)

    def _seen(self, frame, event, arg):
        room = _room(frame) if event == "call" else None
        if room is None:
            return
        if room not in self.rooms:
            self.rooms.append(room)
        outer = frame.f_back
        while outer is not None and _room(outer) is None:
            outer = outer.f_back
        if outer is None or _room(outer) == room:
            return
        self.arrows.add((_room(outer), outer.f_code.co_name, room, frame.f_code.co_name))
        if _room(outer) == self.rooms[0]:
            self.steps.append(room)

    @property
    def back(self):
        """The calls of an earlier step's functions by a later one."""
        place = {room: n for n, room in enumerate(self.rooms)}
        return [
            f"{a}.{caller} calls {b}.{called}"
            for a, caller, b, called in sorted(self.arrows)
            if place[b] < place[a]
        ]


@functools.cache
def _room_of(file):
    path = Path(file)
    return path.stem if path.parent == ROOMS else None


def _room(frame):
    return _room_of(frame.f_code.co_filename)


def walk(recipe, images=None, **given):
    torch.manual_seed(0)
    model = Tiny().eval()
    for norm in (model.bn1, model.bn2):  # a trained network has measured something
        norm.running_mean.uniform_(-0.1, 0.1)

    def done():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CalibrationWarning)
            surgeon.apply(model, recipe, input_size=SIZE, calibration=images, **given)

    return Walk(done)


@pytest.mark.parametrize(
    "recipe, number, given",
    [
        ("kap", 16, {}),
        ("kap", 16, {"warm_start": "lstsq"}),
        ("kap", None, {"stride": 3, "kernel_size": 3}),
        ("wm-unsharp", 16, {}),
        ("anl", 16, {}),
        ("anl", None, {}),
        ("defective", 16, {}),
        ("defective", None, {}),
        ({"op": "meansparse", "budget": 0.5, "step": 0.5}, 16, {}),
    ],
)
def test_the_walk_of_apply_has_few_rooms_and_no_way_back(recipe, number, given):
    images = None
    if number:
        images = torch.randn(number, *SIZE, generator=torch.Generator().manual_seed(1))
    found = walk(recipe, images, **given)
    assert not found.back, "\n".join(found.back)
    assert len(found.rooms) <= MOST, found.rooms
    assert found.rooms[0] == "applying" and found.rooms[-1] == "recording"
    # all is looked at and decided before anything is cut
    cut = found.steps.index("cutting")
    assert not {"door", "looking", "deciding"} & set(found.steps[cut:]), found.steps


def test_a_way_back_is_seen(monkeypatch):
    """As one was: the cut looked at the network again."""
    from surgeon.surgery import cutting, looking

    bare = cutting.bare

    def looking_again(model, *, share):
        looking._looks_trained(model)
        return bare(model, share=share)

    monkeypatch.setattr(cutting, "bare", looking_again)
    assert walk("anl").back == ["cutting.cut calls looking._looks_trained"]


def test_a_plan_walks_the_same_way():
    torch.manual_seed(0)
    model = Tiny().eval()
    made = surgeon.plan(model, "kap", input_size=SIZE, calibrated=True)
    images = torch.randn(16, *SIZE, generator=torch.Generator().manual_seed(1))
    found = Walk(lambda: surgeon.apply(model, made, calibration=images))
    assert not found.back and len(found.rooms) <= MOST, (found.back, found.rooms)
    assert not {"door", "looking", "deciding"} & set(found.steps[found.steps.index("cutting") :]), found.steps


@pytest.mark.parametrize("number", [16, None])
def test_a_second_surgery_walks_the_same_way(number):
    torch.manual_seed(0)
    cut = surgeon.apply(Tiny().eval(), "anl", input_size=SIZE)
    images = torch.randn(number, *SIZE) if number else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        again = Walk(lambda: surgeon.apply(cut, "kap", input_size=SIZE, stack=True, calibration=images))
    assert not again.back and len(again.rooms) <= MOST, (again.back, again.rooms)


@pytest.mark.parametrize(
    "undo, recipe, rooms",
    [
        (surgeon.fold, "kap", {"folding", "door", "standing", "merging"}),
        (
            lambda m: surgeon.fold(m, partial=True),
            "kap+kwta",
            {"folding", "door", "standing", "merging"},
        ),
        (surgeon.revert, "kap", {"folding", "door", "standing"}),
        (surgeon.revert, "wm-unsharp", {"folding", "door", "standing", "restating"}),
    ],
)
def test_the_way_out_has_one_door(undo, recipe, rooms):
    """All that is known of a rewritten network is asked at the door, and passed down."""
    torch.manual_seed(0)
    cut = surgeon.apply(Tiny().eval(), recipe, input_size=SIZE)
    found = Walk(lambda: undo(cut))
    assert not found.back, "\n".join(found.back)
    assert set(found.rooms) <= rooms, found.rooms
    asked = [
        (a, caller) for a, caller, b, called in found.arrows if called in ("surgery_of", "changed_sites")
    ]
    assert asked == [("door", "to_undo")], found.arrows
    assert [n for n, room in enumerate(found.steps) if room == "door"] == [0], found.steps
