"""What `assess` is asked beside the settings: names and numbers of images, and what a finished folder gives back."""

import pytest
import torch
from torch import nn

from surgeon.errors import ArgumentError, ArtifactError
from surgeon.evaluation import assess, noise_accuracy
from surgeon.evaluation.unread import unread
from surgeon.recipe import Evaluation

pytest.importorskip("pyarrow")
FGSM = Evaluation(attacks=("fgsm",), eps=0.05, pictures=False)


@pytest.fixture(scope="module")
def asked():
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval(), torch.rand(8, 1, 8, 8)
    return network, x, torch.arange(8)


def test_a_finished_folder_is_of_its_images_numbers(asked, tmp_path):
    assess(*asked, FGSM, tmp_path / "plain")
    assess(*asked, FGSM, tmp_path / "plain", examples=range(8))
    with pytest.raises(ArtifactError, match=r"with other settings \(examples\)"):
        assess(*asked, FGSM, tmp_path / "plain", examples=range(100, 108))


def test_generators_are_taken_as_lists_are(asked, tmp_path):
    given = {"class_names": (str(i) for i in range(10)), "examples": (i for i in range(100, 108))}
    found = assess(*asked, FGSM, tmp_path / "e", **given)
    assert found.data["classes"] == [str(i) for i in range(10)] and "examples" in found.settings


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"class_names": ("a", "b")}, "class_names are 2, and an image has the label 7"),
        ({"class_names": "abcdefghij"}, "class_names='abcdefghij' is one text; give a list of names"),
        ({"class_names": [*"abcdefghijk"]}, "class_names are 11, and the network has 10 outputs; give one"),
        (
            {"class_names": [*"abcdefgh"]},
            "class_names are 8, and the network has 10 outputs: .* num_classes=10",
        ),
        ({"class_names": [*"abcdefgh"], "num_classes": 9}, "num_classes=9, and the network has 10 outputs"),
    ],
)
def test_names_that_do_not_fit_the_outputs_are_refused_and_leave_no_folder(asked, tmp_path, given, told):
    network, x, y = asked
    with pytest.raises(ArgumentError, match=told):
        assess(network, x, y.flip(0), FGSM, tmp_path / "e", **given)
    assert not (tmp_path / "e").exists()


def test_names_of_the_first_outputs_alone_are_taken_where_they_are_said_to_be_meant(asked, tmp_path):
    network, x, y = asked
    with pytest.raises(ArgumentError, match="class_names are 2, and the network has 10 outputs"):
        assess(network, x, y % 2, FGSM, tmp_path / "e", class_names=("a", "b"))
    found = assess(network, x, y % 2, FGSM, tmp_path / "e", class_names=("a", "b"), num_classes=10)
    assert found.data["classes"] == ["a", "b"]


def test_patches_that_images_have_no_room_for_are_told():
    settings = Evaluation(suite="basic", beyond=True, patches=(2, 64))
    (told,) = [n for n in unread(settings, side=8) if "patches" in n]
    assert told.startswith("patches=[64] has no part in this evaluation: images with a side of 8 pixels")
    assert not [n for n in unread(settings, side=64) if "patches" in n]
    assert not unread(Evaluation(suite="basic", beyond=True), side=4)  # the usual ones, where there is room


def test_one_level_of_noise_alone_is_told(asked):
    with pytest.raises(ArgumentError, match=r"levels=0.1 is one level; give a list, such as \[0.1\]"):
        noise_accuracy(*asked, 0.1)


def test_a_finished_folder_keeps_the_name_that_it_was_made_with(asked, tmp_path):
    assert assess(*asked, FGSM, tmp_path / "e", name="mine").subject.name == "mine"
    before = {p.name: p.read_bytes() for p in (tmp_path / "e").iterdir() if p.is_file()}
    for given in ({}, {"name": "mine"}):
        assert assess(*asked, FGSM, tmp_path / "e", **given).subject.name == "mine"
    with pytest.raises(
        ArtifactError, match="is called 'mine' in it, and name='other' is given: leave name out"
    ):
        assess(*asked, FGSM, tmp_path / "e", name="other")
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "e").iterdir() if p.is_file()}


def test_one_name_is_of_one_class():
    from surgeon.evaluation.engine.admission import checked_class_names

    with pytest.raises(
        ArgumentError, match="class_names has 'cat' for two classes; give each output a name of its own"
    ):
        checked_class_names(["cat", "bee", "cat"], torch.tensor([0, 1, 2]), 3, None)
