"""Several inputs and outputs, optional ones, containers of outputs, and decisions by values."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

import surgeon
from surgeon.errors import SurgeryError
from tests.own_models.checks import KAP, SIZE, Plain, images, out, works


class Pair(NamedTuple):
    logits: Tensor
    features: Tensor


@dataclass
class Result:
    logits: Tensor
    note: str


class Returns(Plain):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(super().forward(x))


class Masked(Plain):
    def forward(self, x, mask, scale=1.0):
        return self.head((self.features(x) * mask * scale).mean((2, 3)))


class Optional(Plain):
    def forward(self, x, mask=None, *, double: bool = False):
        x = self.features(x)
        if mask is not None:
            x = x * mask
        return self.head(x.mean((2, 3)) * (2 if double else 1))


class Two(Plain):
    """Two images."""

    def forward(self, left, right):
        return self.head((self.features(left) - self.features(right)).mean((2, 3)))


class Star(Plain):
    def forward(self, *images):
        return super().forward(images[0])


class Decides(Plain):
    def features(self, x):
        x = self.norm(self.conv(x)).relu()
        if x.mean() > 0:
            x = self.conv2(x)
        return x


@pytest.mark.parametrize(
    "make",
    [
        lambda y: (y, y * 2),
        lambda y: {"logits": y, "both": [y, (y,)]},
        lambda y: Pair(y, y),
        lambda y: Result(y, "a note"),
    ],
    ids=["tuple", "dict", "named tuple", "dataclass"],
)
def test_outputs_keep_their_form(make, tmp_path):
    model = Returns(make)
    cut = works(model, tmp_path)
    assert type(cut(images())) is type(model(images()))


def test_more_inputs_than_an_image_work_without_an_input_size(tmp_path):
    model = Masked().eval()
    cut = works(model, tmp_path, images(), torch.rand(2, 16, 8, 8), input_size=None, sites=["conv", "conv2"])
    assert [n.code for n in cut.surgery.notes if n.code == "size"] == ["size"]
    with pytest.raises(SurgeryError, match=r"Masked takes other inputs than an image \(mask\).*leave it out"):
        surgeon.apply(model, KAP, input_size=SIZE)


def test_two_images(tmp_path):
    cut = works(Two(), tmp_path, images(), images() * 2, input_size=None)
    assert {s.calls for s in surgeon.sites(Two()) if s.kind == "conv"} == {2}
    assert torch.equal(out(cut, images(), images()), out(cut, images() * 3, images() * 3))


def test_optional_inputs_are_held_at_their_defaults_and_others_get_graphs_of_their_own(tmp_path):
    model = Optional()
    cut = works(model, tmp_path)
    wanted = cut(images())
    assert torch.equal(cut(images(), None, double=False), wanted)
    kept = surgeon.apply(model, "noise", input_size=SIZE).eval()
    mask = torch.rand(2, 16, 8, 8)
    for more in ({"mask": mask}, {"double": True}, {"mask": mask, "double": True}, {}, {"mask": mask * 2}):
        assert torch.equal(kept(images(), **more), model.eval()(images(), **more))
    assert torch.equal(kept(images(), mask), model(images(), mask))
    with pytest.raises(TypeError, match="unexpected keyword"):
        cut(images(), no_such=1)
    with pytest.raises(SurgeryError, match=r"Optional.forward was given double of type set"):
        cut(images(), double={1})


def test_inputs_without_names_are_an_error_that_says_so():
    with pytest.raises(
        SurgeryError,
        match=r"Star.forward cannot be traced: .*it takes \*images; a graph needs inputs with names",
    ):
        surgeon.apply(Star(), KAP, input_size=SIZE)


def test_a_decision_by_values_is_an_error_with_its_line():
    with pytest.raises(
        SurgeryError,
        match=(
            r"Decides.forward cannot be traced: .*control flow \(at "
            r"test_inputs_and_outputs.py:\d+, if x.mean\(\) > 0"
        ),
    ):
        surgeon.apply(Decides(), KAP, input_size=SIZE)
