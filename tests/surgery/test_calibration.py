"""Calibration images: what is refused, what is odd, what they may come as, and how many of them choose which start."""

import copy
import re
import warnings

import numpy
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import surgeon
from surgeon.data import digits
from surgeon.effects import measured_effect
from surgeon.errors import CalibrationWarning, DataError, RecipeError, SurgeonError
from surgeon.models.calibration import FEWEST, MOST, gathered, halves
from surgeon.models.norm_inputs import first_norm_inputs
from surgeon.recipe import Training

pytest.importorskip("sklearn")
SIZE = (1, 16, 16)
METHODS = {
    "kap": {"op": "kap"},
    "defective": {"op": "defective", "select": {"stages": [0, 1]}},
    "weight-map": {
        "op": "weight-map",
        "mode": "unsharp",
        "select": {"kernel": ">1", "every": 2, "offset": 1},
    },
}
SMALL_MARGIN = 0.05
"""What a start from images may keep less on test images than one without: the choice sees few images."""


@pytest.fixture(scope="session")
def trained():
    """A narrow ResNet-18 trained on scikit-learn's digits, its training images in a random order, and the
    test images."""
    pytest.importorskip("accelerate")
    from surgeon.training import fit

    sets = digits(SIZE[1], seed=0)
    torch.manual_seed(0)
    model = surgeon.create_model(
        "resnet18", num_classes=10, in_chans=1, input_size=SIZE, model_args={"channels": [8, 8, 16, 16]}
    )
    fit(model, sets["train"], None, Training(epochs=4, batch_size=32, lr=0.05), progress=False)
    order = torch.randperm(len(sets["train"].x), generator=torch.Generator().manual_seed(1))
    return model.eval(), sets["train"].x[order], sets["test"]


@torch.no_grad()
def accuracy(model, test):
    return float((model.eval()(test.x).argmax(1) == test.y).double().mean())


def cut(model, recipe, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        return surgeon.apply(model, recipe, input_size=SIZE, trained=True, **how)


def used(network):
    (trial,) = (t for t in network.surgery.execution.choice.trials if t.used)
    return trial


@pytest.mark.parametrize("method", METHODS)
def test_few_images_keep_no_less_than_none_and_many_keep_most(trained, method):
    model, images, test = trained
    recipe, kept = METHODS[method], {}
    for number in (None, 2, 8, 64):
        given = None if number is None else images[:number]
        kept[number] = accuracy(cut(model, recipe, calibration=given), test)
    assert all(kept[n] >= kept[None] - SMALL_MARGIN for n in (2, 8, 64)), kept
    assert kept[2] == kept[None]
    network = cut(model, recipe, calibration=images[:512])
    assert accuracy(network, test) >= kept[None] - SMALL_MARGIN
    choice = network.surgery.execution.choice
    first, last = choice.trials[0], choice.trials[-1]
    assert last.used and last.drift.relative < 0.7 * first.drift.relative
    assert last.drift.relative < choice.trials[1].drift.relative  # statistics alone do not bring it as close


def test_uint8_and_0_to_255_are_refused_with_the_line_that_works(trained):
    model, images, _ = trained
    for wrong, told in (
        ((images[:32] * 255).to(torch.uint8), r"torch.uint8.*images.float\(\) / 255"),
        (images[:32] * 255, r"not what this network was trained on.*layer bn1.*divide them by 255"),
        (images[:32].long(), "torch.int64"),
        (images[:32] > 0.5, "torch.bool"),
        (torch.full((8, *SIZE), float("nan")), "not a number"),
        (torch.full((8, *SIZE), float("inf")), "not finite"),
        (images[:0], "not empty"),
        (images[0], "must be a batch"),
        (images[:8].expand(-1, 3, -1, -1), r"3 channels.*takes 1: images.mean\(1, keepdim=True\)"),
        (
            torch.rand(8, 1, 12, 12),
            r"are 1×12×12, and the cut is made for 1×16×16: pass input_size=\(1, 12, 12\)",
        ),
    ):
        for recipe in ("kap", "noise"):
            with pytest.raises(DataError, match=told):
                surgeon.apply(model, recipe, input_size=SIZE, calibration=wrong)


@pytest.mark.parametrize("first", [16, 128, 255])
def test_later_batches_are_judged_as_the_first(trained, first):
    model, images, _ = trained
    batches = [images[:first], images[first:256] * 255]
    with pytest.raises(DataError, match="not what this network was trained on.*divide them by 255"):
        surgeon.apply(model, "kap", input_size=SIZE, calibration=batches)


def test_odd_images_are_a_note_and_a_warning(trained):
    model, images, _ = trained
    assert 0.5 < first_norm_inputs(model, images[:16]).deviations < 1.5
    with pytest.warns(CalibrationWarning, match=r"batch-norm inputs of layer bn1 lie .* stored deviations"):
        network = surgeon.apply(model, "kap", input_size=SIZE, calibration=(images[:16] - 0.5) / 0.1)
    assert "images" in [n.code for n in network.surgery.notes]
    usual = cut(model, "kap", calibration=images[:16])
    assert "images" not in [n.code for n in usual.surgery.notes]


def test_without_a_norm_the_configuration_is_the_judge():
    model = nn.Sequential(nn.Conv2d(3, 9, 3), nn.Flatten(), nn.Linear(9 * 36, 4))
    images = torch.rand(16, 3, 8, 8) * 255
    surgeon.apply(
        model, {"op": "kap"}, input_size=(3, 8, 8), calibration=images
    )  # nothing says that it is wrong
    model.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    with pytest.raises(DataError, match=r"normalises pixels in \[0, 1\].*divide them by 255"):
        surgeon.apply(model, {"op": "kap"}, input_size=(3, 8, 8), calibration=images)


def test_a_cut_is_made_for_the_size_of_the_images_where_none_is_stated(trained):
    model, images, _ = trained
    half = nn.functional.interpolate(images[:16], (12, 12))
    for recipe in ({"op": "kap", "start": "naive"}, METHODS["defective"], METHODS["weight-map"]):
        network = surgeon.apply(model, recipe, calibration=half)
        assert network.surgery.input_size == (1, 12, 12) and network(half).shape == model(half).shape
        assert any(
            "cut for 1×12×12, the size of the calibration images" in n.text for n in network.surgery.notes
        )
    planned = surgeon.plan(model, METHODS["defective"], calibrated=True)
    for given in ({"recipe": planned}, {"recipe": METHODS["defective"], "input_size": SIZE}):
        with pytest.raises(
            DataError, match=r"are 1×12×12, and the cut is made for 1×.*: pass input_size=\(1, 12, 12\)"
        ):
            surgeon.apply(model, calibration=half, **given)


def test_images_on_which_the_network_does_not_run_are_told_with_their_size(trained):
    model = surgeon.create_model("resnet18", num_classes=4, model_args={"channels": [8] * 4})
    flat = nn.Sequential(nn.Conv2d(3, 9, 3), nn.Flatten(), nn.Linear(9 * 36, 4))
    flat.pretrained_cfg = {"input_size": (3, 8, 8)}
    with pytest.raises(DataError, match=r"(3×16×16|3x16x16)"):
        surgeon.apply(flat, "kap", calibration=torch.rand(16, 3, 16, 16))
    with pytest.raises(DataError, match="images have 1 channel"):
        surgeon.apply(model, "wm-unsharp", calibration=torch.rand(16, 1, 32, 32))
    cut = surgeon.apply(model, "wm-unsharp", calibration=torch.rand(16, 3, 32, 32))
    assert cut.surgery.input_size == (3, 32, 32)


def test_tensors_batches_loaders_and_generators_are_the_same_images():
    x, y = torch.rand(40, 3, 8, 8), torch.arange(40)
    loader = DataLoader(TensorDataset(x, y), batch_size=16)
    forms = {
        "list": list(x.split(16)),
        "loader": loader,
        "dataset": TensorDataset(x, y),
        "dicts": [{"labels": y[:20], "pixel_values": x[:20]}, {"labels": y[20:], "pixel_values": x[20:]}],
        "generator": (part for part in x.split(7)),
        "images one by one": list(x),
    }
    for name, form in forms.items():
        assert torch.equal(gathered(form), x), name


def test_a_loader_gives_the_network_that_its_images_give(tiny):
    x = torch.randn(32, 3, 8, 8)
    how = {"input_size": (3, 8, 8), "warm_start": "sequential"}
    one = surgeon.apply(tiny, "kap", calibration=x, **how)
    two = surgeon.apply(tiny, "kap", calibration=DataLoader(TensorDataset(x, torch.arange(32)), 10), **how)
    assert all(torch.equal(v, two.state_dict()[k]) for k, v in one.state_dict().items())


def test_no_more_images_are_taken_than_are_used_and_none_is_read_behind_them():
    read = []

    def endless():
        while True:
            read.append(1)
            yield torch.zeros(500, 1, 2, 2)

    assert len(gathered(endless())) == MOST and len(read) == 5
    many = torch.arange(3 * MOST, dtype=torch.float32).view(-1, 1, 1, 1)
    found = gathered(many).flatten()
    assert len(found) == MOST and found[0] == 0 and found[-1] == 3 * MOST - 1


@pytest.mark.parametrize(
    "given, told",
    [
        ("digits", r"is a name.*surgeon.data.images\('digits'"),
        (numpy.zeros((8, 3, 8, 8)), "torch.from_numpy"),
        (5, "is a int; give a tensor"),
        ({"x": torch.rand(8, 3, 8, 8)}, "is a dict"),
        ([], "no images"),
        (iter(()), "no images"),
        (["a.png"], "item 0 holds no images"),
        ([torch.rand(4, 3, 8, 8), torch.rand(4, 3, 9, 9)], "item 1 has images of 3×9×9, those before 3×8×8"),
        ([torch.zeros(4, 3, 8, 8, dtype=torch.uint8)], "uint8"),
        ([(torch.arange(4), "x")], r"item 0 holds no images \(\(4,\), str\)"),
    ],
)
def test_what_is_no_calibration_is_told_so(tiny, given, told):
    with pytest.raises(DataError, match=told):
        surgeon.apply(tiny, "kap", input_size=(3, 8, 8), calibration=given)


@pytest.mark.parametrize(
    "size, told",
    [
        (32, r"write input_size=\(3, 32, 32\)"),
        ((32, 32), r"channels are missing; write input_size=\(3, 32, 32\)"),
        ("3,32,32", r"such as input_size=\(3, 32, 32\)"),
        ((3, 32.0, 32), r"such as input_size=\(3, 32, 32\)"),
        ((3, 0, 32), r"such as input_size=\(3, 32, 32\)"),
        ((), r"such as input_size=\(3, 32, 32\)"),
        (torch.rand(2), r"such as input_size=\(3, 32, 32\)"),
        (numpy.array([1.5, 2, 3]), r"such as input_size=\(3, 32, 32\)"),
        ({"height": 32}, r"such as input_size=\(3, 32, 32\)"),
    ],
)
def test_what_is_no_input_size_is_told_so_with_one_that_works(tiny, size, told):
    for door in (surgeon.plan, surgeon.apply):
        with pytest.raises(SurgeonError, match=told):
            door(tiny, "kap", input_size=size)
    with pytest.raises(SurgeonError, match=told):
        surgeon.create_model("resnet18", input_size=size)
    with pytest.raises(SurgeonError, match=told):
        surgeon.sites(tiny, input_size=size)


def test_sizes_as_lists_and_arrays_are_taken(tiny):
    for size in ([3, 8, 8], numpy.array([3, 8, 8]), torch.Size([3, 8, 8])):
        assert surgeon.plan(tiny, "kap", input_size=size).input_size == (3, 8, 8)


def test_held_out_images_are_in_no_start_and_fixed_by_the_seed():
    x = torch.arange(40.0).view(-1, 1, 1, 1)
    fitted, held_out = halves(x, 3)
    assert (len(fitted), len(held_out)) == (30, 10)
    assert sorted([*fitted.flatten().tolist(), *held_out.flatten().tolist()]) == x.flatten().tolist()
    assert torch.equal(halves(x, 3).held_out, held_out) and not torch.equal(halves(x, 4).held_out, held_out)
    assert len(halves(torch.arange(1000.0).view(-1, 1), 0).held_out) == 64
    assert halves(x[: FEWEST - 1], 0) is None and len(halves(x[:FEWEST], 0).held_out) == 4


def test_the_record_tells_what_each_start_keeps_and_survives_saving(trained, tmp_path):
    model, images, _ = trained
    network = cut(model, "kap", calibration=images[:256])
    choice = network.surgery.execution.choice
    assert (choice.fitted, choice.held_out) == (192, 64)
    assert [(t.start, bool(t.statistics)) for t in choice.trials] == [
        ("lstsq", False),
        ("lstsq", True),
        ("sequential", True),
    ]
    assert used(network).start == "sequential" and network.surgery.execution.drift == used(network).drift
    assert re.search("keeps most|drift least", str(network.surgery))
    surgeon.save(network, tmp_path / "cut")
    assert surgeon.load(tmp_path / "cut").surgery.execution.choice == choice


def test_too_few_images_fall_back_with_a_warning_and_the_same_weights_as_none(trained):
    model, images, _ = trained
    none = cut(model, "kap")
    with pytest.warns(CalibrationWarning, match="2 calibration images are too few"):
        two = surgeon.apply(model, "kap", input_size=SIZE, trained=True, calibration=images[:2])
    assert all(torch.equal(v, two.state_dict()[k]) for k, v in none.state_dict().items())
    eight = cut(model, "kap", calibration=images[:8])
    assert used(eight).label == "lstsq with stock statistics" and eight.surgery.execution.statistics == 0
    assert all(torch.equal(v, eight.state_dict()[k]) for k, v in none.state_dict().items())
    assert any(
        re.search("not sequential, as it(s logits drift less| keeps more);", n.text)
        for n in eight.surgery.notes
    )
    back = surgeon.revert(eight).state_dict()
    assert all(torch.equal(v, back[k]) for k, v in model.state_dict().items())


def test_a_start_that_is_asked_for_is_kept_and_a_note_tells_of_a_better_one(trained):
    model, images, _ = trained
    with pytest.warns(
        CalibrationWarning, match="naive.* as asked for, and sequential would (keep more|drift less)"
    ):
        naive = surgeon.apply(
            model, "kap", input_size=SIZE, trained=True, calibration=images[:128], warm_start="naive"
        )
    assert {e.settings["start"] for e in naive.surgery.of("kap") if "start" in e.settings} == {"naive"}
    few = cut(model, "kap", calibration=images[:8], warm_start="sequential")
    assert used(few).start == "sequential"
    better = "lstsq with stock statistics would (keep more|drift less)"
    assert any(re.search(better, n.text) for n in few.surgery.notes)
    plan = surgeon.plan(model, "kap", input_size=SIZE, calibrated=True)
    planned = cut_plan(model, plan, images[:8])
    assert any(re.search(better, n.text) for n in planned.surgery.notes)


def cut_plan(model, plan, images):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        return surgeon.apply(model, plan, calibration=images)


def test_one_image_for_a_start_that_was_asked_for(trained):
    model, images, _ = trained
    how = {"warm_start": "sequential", "input_size": SIZE}
    with pytest.raises(DataError, match="one calibration image has no spread"):
        surgeon.apply(model, "kap", calibration=images[:1], **how)
    with pytest.raises(RecipeError):
        surgeon.apply(model, "kap", calibration=images[:8], input_size=SIZE, warm_start="sequentiel")


def test_statistics_that_lag_behind_the_weights_are_not_what_starts_are_compared_with(trained):
    model, images, test = trained
    lagging = copy.deepcopy(model)
    for norm in lagging.modules():
        if isinstance(norm, nn.BatchNorm2d):  # as after a short training
            norm.running_mean.mul_(0.3)
            norm.running_var.mul_(0.3).add_(0.7)
    before = {k: v.clone() for k, v in lagging.state_dict().items()}
    assert accuracy(lagging, test) < accuracy(model, test) - 0.1
    with pytest.warns(CalibrationWarning, match="stored batch-norm statistics lag behind"):
        network = surgeon.apply(lagging, "kap", input_size=SIZE, calibration=images[:256])
    assert used(network).statistics == 192
    assert accuracy(network, test) > accuracy(lagging, test)
    assert network.surgery.execution.drift.relative > used(network).drift.relative
    assert all(torch.equal(v, before[k]) for k, v in lagging.state_dict().items())
    usual = cut(model, "kap", calibration=images[:256])
    assert not any("lag behind" in n.text for n in usual.surgery.notes)


def test_a_network_without_a_configured_size_is_cut_for_that_of_its_images():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.fc = (
                nn.Conv2d(3, 16, 3, padding=1),
                nn.BatchNorm2d(16),
                nn.Linear(16, 3),
            )

        def forward(self, x):
            return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))

    cut = surgeon.apply(Own(), "kap", calibration=torch.rand(16, 3, 8, 8))
    assert cut.surgery.input_size == (3, 8, 8) and cut.surgery.measured
    # A further surgery knows the size from the record.
    assert surgeon.apply(cut, "anl", stack=True).surgery.input_size == (3, 8, 8)


@pytest.mark.parametrize(
    "recipe, effects",
    [
        ({"op": "kap", "kernel_size": 1, "start": "lstsq"}, {"approximated"}),
        ("defective", {"changed", "destroyed"}),
    ],
)
def test_the_record_says_what_was_measured(trained, recipe, effects):
    """Windows of one channel lose nothing; half of the neurons, much. Both aim at the same."""
    model, images, _ = trained
    how = {} if isinstance(recipe, dict) else {"warm_start": "random"}
    found = cut(model, recipe, calibration=images[:160], **how).surgery
    used = found.execution.drift
    assert found.planned == "approximated" and found.effect == measured_effect("approximated", used)
    assert found.effect in effects


def test_a_second_surgery_that_changes_nothing_leaves_what_the_first_was_measured_to_do(trained):
    model, images, _ = trained
    first = cut(model, METHODS["kap"])
    both = cut(first, "noise", stack=True).surgery
    assert both.effect == first.surgery.effect == "changed" and both.planned == "approximated"
