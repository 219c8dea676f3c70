"""Blurs at strides: their equations in every padding, what folds, and that moved images give the same."""

import itertools

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import FoldError, LayerError, RecipeError, SelectionError
from surgeon.methods.blur_pool import Blur, blur_filter
from surgeon.methods.blur_pool.cut import blurred_pooling
from tests.reference import blur_pool as reference

MODES = ("zeros", "reflect", "replicate", "circular")


def double(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rewritten(module, size, **settings):
    """The module with blurs, in float64; a second one takes the place of the network's first."""
    return surgeon.apply(
        nn.Sequential(module).double().eval(), "blur-pool", input_size=size, **FIRST, **settings
    )


FIRST = {"settings": {"blur-pool.select.skip_first": 0}}


@pytest.mark.parametrize("size", range(2, 8))
def test_filters_are_binomial_and_have_a_centre(size):
    found = blur_filter([size]).tolist()
    assert len(found) % 2 == 1 and found[size % 2 == 0 :] == reference.weights(size) and sum(found) == 1
    twice = blur_filter([size, 3])
    assert torch.equal(twice, torch.outer(blur_filter([size]), blur_filter([3])))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(3, 2, 1, 1), (1, 2, 0, 1), (4, 4, 0, 1), (3, 3, 2, 2)]
)
@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_a_convolution_is_that_of_the_blurred_image(size, kernel, stride, padding, dilation, mode):
    conv = nn.Conv1d(1, 1, kernel, stride, padding, dilation, padding_mode=mode)
    cut = rewritten(conv, (1, 13), filter_size=size)
    x = double(2, 1, 13)
    with torch.no_grad():
        found, stock = cut(x), conv(x)
        for image, row in zip(x, found, strict=True):
            wanted = reference.convolution(
                image[0].tolist(), conv.weight[0, 0].tolist(), stride, padding, dilation, mode, size
            )
            torch.testing.assert_close(row[0] - conv.bias, torch.tensor(wanted, dtype=torch.float64))
        assert found.shape == stock.shape
        folded = surgeon.fold(cut)
        torch.testing.assert_close(folded(x), found, atol=1e-12, rtol=1e-12)
        assert type(folded[0]) is nn.Conv1d and not list(folded[0].children())


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 6, (3, 5), (2, 1), (1, 2), bias=False),
        nn.Conv2d(4, 8, 3, 2, (2, 1), (2, 1), groups=2, padding_mode="reflect"),
        nn.Conv2d(4, 4, 5, (3, 2), 2, groups=4, padding_mode="circular"),
        nn.Conv2d(4, 4, 4, 4, "valid"),
        nn.Conv3d(4, 4, 3, (1, 2, 2), 1),
    ],
    ids=lambda c: c.extra_repr(),
)
@pytest.mark.parametrize("size", [2, 3, 5])
def test_convolutions_of_every_kind_fold(conv, size):
    shape = (4, *[11, 10, 9][: conv.weight.dim() - 2])
    cut = rewritten(conv, shape, filter_size=size)
    x = double(3, *shape)
    with torch.no_grad():
        assert cut(x).shape == conv(x).shape
        assert (cut(x) - conv(x)).norm() > 0.1 * conv(x).norm()
        folded = surgeon.fold(cut)
        torch.testing.assert_close(folded(x), cut(x), atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(cut(x[0]), cut(x)[0], atol=1e-12, rtol=1e-12)
    assert list(folded.state_dict()) == [f"0.{k}" for k in conv.state_dict()]


def test_what_folds_is_the_filter_that_the_layer_has():
    """It is a buffer, which a state dict may bring."""
    cut, x = rewritten(nn.Conv2d(4, 6, 3, 2, 1), (4, 9, 9)), double(2, 4, 9, 9)
    other = torch.tensor([[0.0, 0.5, 0.0], [0.0, 0.25, 0.0], [0.1, 0.0, 0.15]])
    cut.load_state_dict({**cut.state_dict(), "0.blur.filter": other})
    with torch.no_grad():
        torch.testing.assert_close(surgeon.fold(cut)(x), cut(x), atol=1e-12, rtol=1e-12)


def test_an_axis_without_a_stride_is_not_blurred():
    cut = rewritten(nn.Conv2d(2, 2, 3, (1, 2), 1), (2, 8, 8))
    assert cut.get_submodule("0.blur").sizes == (1, 3)


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_pooling_is_the_blurred_maximum_and_keeps_its_size(size, ceil):
    tried = 0
    for kernel, stride, long in itertools.product((1, 2, 3, 4), (2, 3, 4), range(4, 12)):
        for padding in range(kernel // 2 + 1):
            pool = nn.MaxPool1d(kernel, stride, padding, ceil_mode=ceil)
            dense, blur = blurred_pooling(pool, [size], [stride])
            x = double(1, 1, long)
            found, stock = blur.double()(dense(x)), pool(x)
            assert found.shape == stock.shape, (kernel, stride, long, padding)
            wanted = reference.max_pooling(x.flatten().tolist(), kernel, stride, padding, size, found.numel())
            torch.testing.assert_close(
                found.flatten(), torch.tensor(wanted, dtype=torch.float64), msg=str(pool)
            )
            tried += 1
    assert tried > 100


def test_the_papers_example_of_a_moved_signal():
    """Section 3.1: 0 0 1 1 0 0 1 1 pools to 0 1 0 1, and moved by one to 1 1 1 1."""
    signal = torch.tensor([0.0, 0.0, 1.0, 1.0] * 3).view(1, 1, -1)
    blur = Blur([3], [2], mode="replicate")
    dense = nn.functional.max_pool1d(torch.cat([signal, signal[..., :2]], 2), 2, 1)
    assert blur(dense)[0, 0, 1:5].tolist() == [1.0, 0.5, 1.0, 0.5]
    assert blur(dense[..., 1:])[0, 0, 1:5].tolist() == [0.75] * 4


def test_moved_images_give_more_nearly_the_same():
    """The mean over the map of a moved image, whose pixels beyond the border come from the other side."""
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3, 1, 1, padding_mode="circular"), nn.ReLU(), nn.MaxPool2d(2, 2)]
    body += [nn.Conv2d(8, 16, 3, 2, 1, padding_mode="circular"), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    stock = nn.Sequential(*body).double().eval()
    images = double(64, 3, 32, 32)
    apart = {}
    for size in (0, 2, 3, 5):
        net = surgeon.apply(stock, "blur-pool", input_size=(3, 32, 32), filter_size=size) if size else stock
        with torch.no_grad():
            still, moved = net(images), net(images.roll((1, 1), (2, 3)))
        apart[size] = float((moved - still).norm() / (still - still.mean(0)).norm())
    assert apart[0] > 1.5 * apart[2] and apart[2] > apart[3] > apart[5] and apart[0] > 2 * apart[3], apart


def test_poolings_do_not_fold_and_convolutions_beside_them_stay_with_them():
    """Of an architecture with the larger kernel a record could not be made again."""
    torch.manual_seed(0)
    stock = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, 2)).double().eval()
    cut = surgeon.apply(stock, "blur-pool", input_size=(3, 12, 12))
    with pytest.raises(FoldError, match="1 of 2 edits do not fold: blur-pool at 1: a maximum is not linear"):
        surgeon.fold(cut)
    part = surgeon.fold(cut, partial=True)
    x = double(2, 3, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(part(x), cut(x), atol=1e-12, rtol=1e-12)
    assert len(surgeon.surgery_of(part).edits) == 2 and part.get_submodule("2").kernel_size == (3, 3)


def test_training_after_the_cut_is_not_in_what_was_there_before():
    stock = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1))
    cut = surgeon.apply(stock, "blur-pool", input_size=(3, 8, 8), **FIRST)
    assert torch.equal(cut.get_submodule("0").weight, stock[0].weight)
    with torch.no_grad():
        cut.get_submodule("0").weight.zero_()
    assert torch.equal(surgeon.revert(cut)[0].weight, stock[0].weight) and surgeon.revert(cut)[0].padding == (
        1,
        1,
    )


def test_an_emptied_blur_gets_its_weights_again():
    blur = Blur([3, 2], [2, 2]).to_empty(device="cpu")
    with pytest.raises(LayerError, match="filter has no values"):
        blur(torch.zeros(1, 1, 4, 4))
    blur.reset_parameters()
    assert torch.equal(blur.filter, blur_filter([3, 2]).float())


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.Conv2d(3, 3, 3, 1, 1), "it has no stride"),
        (nn.ConvTranspose2d(3, 3, 2, 2), "transposed"),
        (nn.AvgPool2d(2), "AvgPool2d is no max pooling"),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 3, 2)), "weight"),
    ],
)
def test_other_places_are_passed_over_with_a_reason(layer, why):
    with pytest.raises(SelectionError, match=why):
        surgeon.plan(nn.Sequential(layer), "blur-pool", input_size=(3, 8, 8), **FIRST)


def test_a_pooling_that_gives_places_too_is_passed_over():
    class Unpooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.pool, self.back = (
                nn.Conv2d(3, 3, 1),
                nn.MaxPool2d(2, return_indices=True),
                nn.MaxUnpool2d(2),
            )

        def forward(self, x):
            return self.back(*self.pool(self.conv(x)))

    with pytest.raises(SelectionError, match="it gives the places of the maxima too"):
        surgeon.plan(Unpooled(), "blur-pool", input_size=(3, 8, 8))


def test_the_recipe_leaves_the_first_convolution():
    stock = surgeon.create_model("resnet18", num_classes=5, input_size=(3, 32, 32))
    plan = surgeon.plan(stock, "blur-pool", input_size=(3, 32, 32))
    assert [e.site for e in plan.edits][:2] == ["maxpool", "layer2.0.conv1"] and len(plan.edits) == 7
    only = surgeon.plan(stock, "blur-pool", input_size=(3, 32, 32), at="pool")
    assert [e.site for e in only.edits] == ["maxpool"]
    with pytest.raises(RecipeError, match="filter_size"):
        surgeon.plan(stock, "blur-pool", input_size=(3, 32, 32), filter_size=1)


def test_wrong_inputs_are_errors():
    with pytest.raises(LayerError, match=r"blurs 2 axes of .* shape \(4,\)"):
        Blur([3, 3], [1, 1])(torch.zeros(4))
    with pytest.raises(LayerError, match="4 axes"):
        Blur([3] * 4, [1] * 4)
