"""Shuffled patches: the same patches in another order, which no batch changes."""

import pytest
import torch

from surgeon.errors import DataError
from surgeon.evaluation.beyond.patch_shuffle import patch_shuffle


def numbered(count, height, width):
    """Images whose pixels all differ."""
    return torch.randperm(count * 3 * height * width, generator=torch.Generator().manual_seed(0)).reshape(
        count, 3, height, width
    ) / (count * 3 * height * width)


def patches(image, grid):
    """The patches of an image (C, H, W) as a sorted list of tuples."""
    return sorted(
        tuple(part.flatten().tolist()) for row in image.chunk(grid, 1) for part in row.chunk(grid, 2)
    )


@pytest.mark.parametrize(("height", "width", "grid"), [(8, 8, 2), (12, 12, 4), (6, 12, 3), (4, 4, 4)])
def test_the_patches_are_kept_and_stand_elsewhere(height, width, grid):
    x = numbered(5, height, width)
    kept = x.clone()
    found = patch_shuffle(x, grid)
    assert found.shape == x.shape and found.dtype == x.dtype and torch.equal(x, kept)
    for was, now in zip(x, found, strict=True):
        assert patches(was, grid) == patches(now, grid) and not torch.equal(was, now)


def test_a_grid_of_one_changes_nothing_and_gives_new_memory():
    x = numbered(2, 5, 7)
    found = patch_shuffle(x, 1)
    assert torch.equal(found, x) and found.data_ptr() != x.data_ptr()


def test_no_image_of_many_stays_as_it_is():
    """By chance alone one in 24 would."""
    x = numbered(1, 4, 4).expand(500, -1, -1, -1)
    found = patch_shuffle(x, 2, seed=3)
    assert bool((found != x).flatten(1).any(1).all())
    assert len({tuple(image.flatten().tolist()) for image in found}) == 23


def test_a_sample_is_shuffled_alike_in_every_batch():
    x = numbered(6, 8, 8)
    found = patch_shuffle(x, 4, seed=1)
    assert torch.equal(found, patch_shuffle(x, 4, seed=1))
    assert torch.equal(found[:2], patch_shuffle(x[:2], 4, seed=1))
    others = torch.cat((x[:3], torch.zeros(3, 3, 8, 8)))
    assert torch.equal(found[:3], patch_shuffle(others, 4, seed=1)[:3])
    assert not torch.equal(found, patch_shuffle(x, 4, seed=2))


def test_the_border_that_the_grid_does_not_divide_stays():
    x = numbered(3, 11, 9)
    found = patch_shuffle(x, 4)  # 8 x 8 in the middle: rows 1 to 8, columns 0 to 7
    inside = torch.zeros(11, 9, dtype=torch.bool)
    inside[1:9, 0:8] = True
    assert torch.equal(found[..., ~inside], x[..., ~inside])
    for was, now in zip(x, found, strict=True):
        assert patches(was[:, 1:9, :8], 4) == patches(now[:, 1:9, :8], 4) and not torch.equal(was, now)


def test_no_global_generator_is_touched():
    torch.manual_seed(0)
    was = torch.get_rng_state()
    patch_shuffle(numbered(2, 4, 4), 2, seed=5)
    assert torch.equal(was, torch.get_rng_state())


@pytest.mark.parametrize("grid", [0, -1, 6])
def test_a_grid_that_does_not_fit_is_named(grid):
    with pytest.raises(DataError, match=f"grid={grid} .*5x8"):
        patch_shuffle(numbered(1, 5, 8), grid)


def test_images_of_another_kind_are_named():
    with pytest.raises(DataError, match="must be a batch"):
        patch_shuffle(torch.zeros(3, 4, 4), 2)
