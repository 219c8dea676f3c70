"""Which network a page calls the one before a surgery: the one with the weights that a revert gives."""

from dataclasses import replace

import pytest
import torch

import surgeon
from surgeon.data import digits
from surgeon.report import read_run
from surgeon.report.comparing import BASE, KIND, OTHER, comparisons
from surgeon.report.reading import apart, compared
from tests.report.conftest import SIZE, network


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    pytest.importorskip("torchattacks")
    pytest.importorskip("pyarrow")
    from surgeon.evaluation import assess
    from surgeon.recipe import Evaluation

    test, folder = digits(8)["test"], tmp_path_factory.mktemp("bases")
    stock, other = network().eval(), network().eval()
    with torch.no_grad():
        other[0].weight.mul_(1.5)
    kap = surgeon.apply(stock, "kap", input_size=SIZE, calibration=test.x[:64]).eval()
    settings = Evaluation(suite="basic", attacks=["fgsm"], pictures=False)
    for name, model in (("stock", stock), ("other", other), ("kap", kap)):
        assess(model, test.x[:8], test.y[:8], settings, folder / name, name=name)
    names, turned = [f"c{k}" for k in range(10)], (test.y[:8] + 1) % 10
    for name, y, classes in (
        ("mislabelled", turned, ()),
        ("named", test.y[:8], names),
        ("in-order", turned, [names[-1], *names[:-1]]),
        ("misnamed", turned, names),
    ):
        assess(stock, test.x[:8], y, settings, folder / name, name=name, class_names=classes)
    for name, steps in (("two-steps", 2), ("again", 2), ("three-steps", 3)):
        pgd = Evaluation(suite="basic", attacks=["pgd"], steps=steps, pictures=False)
        assess(stock, test.x[:8], test.y[:8], pgd, folder / name, name=name, seed=int(name == "again"))
    return {path.name: read_run(path) for path in folder.iterdir() if path.is_dir()}


def test_the_network_that_was_cut_is_the_base_wherever_it_stands(found):
    assert found["kap"].found.subject.uncut_weights == found["stock"].found.subject.weights
    (one,) = comparisons([found["kap"], found["other"], found["stock"]])
    assert (one.reference, one.whys) == (2, ((BASE, (0,)), (OTHER, (1,))))


def test_another_uncut_network_is_not_called_the_one_before_the_surgery(found):
    (one,) = comparisons([found["other"], found["kap"]])
    assert (one.reference, one.whys) == (0, ((KIND, (1,)),))


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("stock", "other", ""),
        ("stock", "mislabelled", "other labels of 8 of the 8 images in common"),
        ("named", "misnamed", "other labels of 8 of the 8 images in common"),
        ("named", "in-order", ""),  # the same classes, at other outputs
        ("stock", "named", ""),
        ("mislabelled", "named", "other labels of 8 of the 8 images in common"),
    ],
)
def test_runs_are_compared_on_images_with_the_same_labels(found, one, other, why):
    assert apart(found[one], found[other]) == why
    assert (compared(found[one], found[other]) is None) == bool(why)
    (group,) = comparisons([found[one], found[other]])
    assert list(group.apart.values()) == ([why] if why else [])


def test_runs_are_compared_under_attacks_of_one_strength_alone(found):
    two, again, three = (found[n] for n in ("two-steps", "again", "three-steps"))
    assert apart(two, three) == "other attacks" and compared(two, three) is None
    assert apart(two, again) == "" and compared(two, again) is not None  # another seed is no other strength


def test_settings_of_another_version_are_compared_as_they_are_written(found):
    def other(run, **more):
        settings = {**run.found.settings, "evaluation": {"unknown": 1, **more}}
        return replace(run, found=run.found.model_copy(update={"settings": settings}))

    two = found["two-steps"]
    assert apart(other(two), other(two)) == ""
    assert apart(other(two), other(two, steps=3)) == "other attacks"
