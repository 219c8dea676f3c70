"""Calibration images that repeat one another: none that was fitted to is used to compare starts."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import CalibrationWarning
from surgeon.models.calibration import first_copies, halves

SIZE = (1, 8, 8)


def images(count, seed=0):
    return torch.rand(count, *SIZE, generator=torch.Generator().manual_seed(seed))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4)
    )


def test_copies_are_known_by_their_pixels():
    x = images(6)
    both = torch.cat([x, x.flip(0), x[:1].flip(3), -x[:1] * 0, x[:1] * 0])
    assert first_copies(both).tolist() == [
        *range(6),
        *reversed(range(6)),
        12,
        13,
        14,
    ]  # of −0 and 0 each is its own
    assert first_copies(both[:12].flip(1)).tolist() == [*range(6), *reversed(range(6))]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_image_is_on_both_sides(seed, times):
    x = images(20).repeat(times, 1, 1, 1)
    fitted, held_out = halves(x, seed)
    assert len(held_out) == 5 and len(fitted) == 15 * times
    assert not (fitted[:, None] == held_out[None]).flatten(2).all(2).any()


def test_a_split_of_distinct_images_is_by_the_seed_alone():
    x = images(40)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    assert torch.equal(halves(x, 3).held_out, x[order[:10].sort().values])


def test_many_copies_of_few_images_are_few():
    assert halves(images(7).repeat(20, 1, 1, 1), 0) is None
    with pytest.warns(
        CalibrationWarning, match="140 calibration images are 7 distinct ones, too few to hold some out"
    ):
        cut = surgeon.apply(
            network(),
            "wm-smoothing-all",
            input_size=SIZE,
            trained=True,
            calibration=images(7).repeat(20, 1, 1, 1),
        )
    assert cut.surgery.execution.choice.fitted == 0


def test_copies_are_noted_and_most_being_copies_is_a_warning():
    twice = torch.cat([images(32), images(8)])
    cut = surgeon.apply(
        network().eval(), "wm-smoothing-all", input_size=SIZE, trained=True, calibration=twice
    )
    assert any(
        "40 calibration images are 32 distinct ones, pixel by pixel" in n.text for n in cut.surgery.notes
    )
    with pytest.warns(CalibrationWarning, match="160 calibration images are 16 distinct ones"):
        surgeon.apply(
            network(),
            "wm-smoothing-all",
            input_size=SIZE,
            trained=True,
            calibration=images(16).repeat(10, 1, 1, 1),
        )
