"""Images that a training refuses before its first step, and those that it takes."""

import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from surgeon.data import Images
from surgeon.errors import ArgumentError, CalibrationWarning, DataError, SurgeonError
from surgeon.recipe import Adversary, Training
from surgeon.training import fit

pytest.importorskip("accelerate")
ONE = Training(epochs=1, batch_size=16)
ATTACKED = ONE.model_copy(update={"adversary": Adversary(method="fgsm", eps=0.03)})
NORMALIZE = ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def pixels(count=16):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(count) % 5


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda x: x * 255, r"train has images over \[.*\], not \[0, 1\]; they look like 0–255"),
        (lambda x: x.long(), "train has images of torch.int64; give bytes"),
        (lambda x: x * float("nan"), "train: images have values that are not a number"),
        (lambda x: x / 0, "not finite"),
        (lambda x: x[:, :1], r"train: images have 1 channels .* takes 3: images.expand\(-1, 3, -1, -1\)"),
        (lambda x: x.flatten(1), r"train must be a batch \(N, C, H, W\)"),
        (lambda x: x.numpy(), "train must be one tensor .* ndarray"),
    ],
)
def test_images_of_another_kind_are_refused(tiny, change, told):
    x, y = pixels()
    before = {k: v.clone() for k, v in tiny.state_dict().items()}
    with pytest.raises(DataError, match=told):
        fit(tiny, Images(change(x), y), None, ONE, progress=False)
    assert all(torch.equal(v, before[k]) for k, v in tiny.state_dict().items())


def test_validation_images_and_those_of_a_dataset_are_looked_at_too(tiny):
    x, y = pixels()
    with pytest.raises(DataError, match="val has images over"):
        fit(tiny, Images(x, y), Images(x * 255, y), ONE, progress=False)
    with pytest.raises(DataError, match="train has images over"):
        fit(tiny, TensorDataset(x * 255, y), None, ONE, progress=False)
    with pytest.raises(DataError, match="train: images have 1 channels"):
        fit(tiny, TensorDataset(x[:, :1], y), None, ONE, progress=False)


def test_normalised_images_are_for_trainings_that_neither_normalise_nor_attack(tiny):
    x, y = pixels()
    normalised = Images((x - 0.5) / 0.2, y)
    assert len(fit(tiny, normalised, None, ONE, progress=False)) == 1
    for settings, normalize in ((ATTACKED, None), (ONE, NORMALIZE)):
        with pytest.raises(DataError, match="they look normalised already"):
            fit(tiny, normalised, None, settings, normalize=normalize, progress=False)


def test_bytes_are_taken(tiny):
    x, y = pixels()
    assert len(fit(tiny, Images((x * 255).to(torch.uint8), y), None, ATTACKED, progress=False)) == 1


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize(
    "change, told",
    [
        (lambda y: y + 0.6, "labels of torch.float32; give class indices"),
        (lambda y: torch.nn.functional.one_hot(y), r"shape \(16, 5\).*labels.argmax\(1\)"),
        (lambda y: y[:, None], r"shape \(16, 1\).*labels.flatten\(\)"),
        (lambda y: y - 100, "the label -100"),
        (lambda y: y + 1, "5"),
    ],
)
def test_labels_are_class_indices_in_memory_and_in_a_dataset(tiny, part, change, told):
    x, y = pixels()
    for kind in (Images, TensorDataset):
        given = {"train": Images(x, y), "val": Images(x, y), part: kind(x, change(y))}
        with pytest.raises(DataError, match=f"{part} has .*{told}"):
            fit(tiny, given["train"], given["val"], ONE, progress=False)


class Stream(IterableDataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __iter__(self):
        return zip(self.x, self.y, strict=True)


@pytest.mark.parametrize("kind", [Images, TensorDataset, Stream])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"mixup": 0.5},
        {"cutmix": 0.5, "smoothing": 0.1},
        {"adversary": Adversary(method="fgsm", eps=0.03)},
        {"adversary": Adversary(method="trades", eps=0.03, steps=1)},
        {"mixup": 0.5, "adversary": Adversary(method="pgd", eps=0.03, steps=1)},
    ],
)
def test_a_label_that_is_no_output_is_told_with_its_place_whatever_the_step_does(tiny, kind, more):
    x, y = pixels()
    y[11] = 5
    at = "" if kind is Stream else " at index 11"
    with pytest.raises(
        DataError, match=f"^train has the label 5{at}, and the network has 5 outputs, for labels from 0"
    ):
        fit(tiny, kind(x, y), None, Training(epochs=1, batch_size=8, **more), progress=False)
    if kind is not Stream:
        with pytest.raises(
            DataError, match="^val has the label 5 at index 11, and the network has 5 outputs"
        ):
            fit(tiny, Images(*pixels()), kind(x, y), Training(epochs=1, batch_size=8, **more), progress=False)
        y[11] = -2
        with pytest.raises(DataError, match="^train has the label -2 at index 11; give class indices from 0"):
            fit(tiny, kind(x, y), None, Training(epochs=1, batch_size=8, **more), progress=False)


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda x, y: Images(x, y.numpy()), "labels in a ndarray; give a tensor"),
        (lambda x, y: Images(x, y.tolist()), "labels in a list; give a tensor"),
        (lambda x, y: (x, y), r"train is a tuple; give surgeon.data.Images\(x, y\)"),
        (lambda x, y: DataLoader(TensorDataset(x, y), 8), "train is a DataLoader; give its dataset"),
        (lambda x, y: Images((x > 0.5).byte(), y), "bytes of 0 and 1 alone"),
    ],
)
def test_what_is_no_labelled_set_is_refused_with_what_works(tiny, make, told):
    with pytest.raises(DataError, match=told):
        fit(tiny, make(*pixels()), None, ONE, progress=False)


@pytest.mark.parametrize(
    "how, told",
    [
        ({"normalize": ([127.0] * 3, [60.0] * 3)}, r"not of pixels in \[0, 1\]: divide them by 255"),
        ({"normalize": ([0.5] * 3, [0.0] * 3)}, "std above 0"),
        (
            {"normalize": ([0.5] * 2, [0.5] * 2)},
            "has 2 numbers each, and the network takes images of 3 channels",
        ),
        ({"settings": {"epochs": 1}}, "settings is a dict; give surgeon.recipe.Training"),
        ({"settings": Training(epochs=1, transform={"hflip": 1.0})}, "is not made by fit"),
    ],
)
def test_a_call_that_would_mean_something_else_is_refused(tiny, how, told):
    with pytest.raises(SurgeonError, match=told):
        fit(tiny, Images(*pixels()), None, **{"settings": ONE, **how}, progress=False)


def test_a_network_that_cannot_be_trained_is_told(tiny):
    for dtype in (torch.half, torch.bfloat16, torch.double):
        with pytest.raises(ArgumentError, match=f"parameters of {dtype}.*model.float"):
            fit(tiny.to(dtype), Images(*pixels()), None, ONE, progress=False)
    casting = nn.Sequential(tiny.double())
    casting.register_forward_pre_hook(lambda module, given: (given[0].double(),))
    assert len(fit(casting, Images(*pixels()), None, ONE, progress=False)) == 1
    with pytest.raises(ArgumentError, match="all of its parameters are frozen"):
        fit(tiny.float().requires_grad_(False), Images(*pixels()), None, ONE, progress=False)


def test_images_of_a_shape_that_the_network_does_not_take_are_told_before_the_first_step():
    x, y = pixels()
    flat, sized = (
        nn.Sequential(nn.Flatten(), nn.Linear(192, 5)),
        nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 5)),
    )
    other = Images(torch.rand(4, 1, 8, 8), y[:4])
    with pytest.raises(DataError, match="val: images are 1×8×8, and the network does not take them"):
        fit(flat, Images(x, y), other, ONE, progress=False)
    for data in (Images(torch.rand(4, 3, 9, 9), y[:4]), TensorDataset(torch.rand(4, 3, 9, 9), y[:4])):
        with pytest.raises(DataError, match="val: images are 3×9×9, and the network does not take them"):
            fit(sized, Images(x, y), data, ONE, progress=False)
        with pytest.raises(DataError, match="train: images are 3×9×9, and the network does not take them"):
            fit(sized, data, None, ONE, progress=False)


def test_gray_images_are_not_made_three_channels_by_their_normalisation():
    x, y = pixels()
    flat = nn.Sequential(nn.Flatten(), nn.LazyLinear(5))
    flat(torch.rand(1, 1, 8, 8))
    with pytest.raises(DataError, match="train has images of 1 channels, and normalize has 3 numbers each"):
        fit(flat, Images(x[:, :1], y), None, ONE, normalize=NORMALIZE, progress=False)


def test_each_module_is_in_its_own_mode_afterwards(tiny):
    x, y = pixels()
    norm = next(m for m in tiny.modules() if isinstance(m, nn.BatchNorm2d))
    tiny.train()
    norm.eval()
    fit(tiny, Images(x, y), None, ONE, progress=False)
    assert tiny.training and not norm.training


@pytest.mark.parametrize(
    ("change", "times"),
    [(lambda x: x / 255, 255), (lambda x: (x * 16).byte(), 17), (lambda x: x / 20, 20)],
)
def test_images_that_are_nearly_black_are_told(change, times):
    x, y = pixels()
    x[0, 0, 0, 0] = 0.999
    with pytest.warns(
        CalibrationWarning, match=rf"train: the brightest pixel of 16 images is .* by {times:.3g}"
    ):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), Images(change(x), y), None, ONE)


def test_images_of_16_levels_are_refused_by_their_own_number():
    x, y = pixels()
    x[0, 0, 0, 0] = 1.0
    with pytest.raises(DataError, match="they look like 0–16: divide them by 16"):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), Images(x * 16, y), None, ONE)


class Short(Stream):
    """A stream that gives `more` images beyond its length."""

    def __init__(self, x, y, length):
        super().__init__(x, y)
        self.length = length

    def __len__(self):
        return self.length


@pytest.mark.parametrize(("length", "told"), [(8, True), (16, True), (17, True), (24, False), (25, False)])
def test_a_stream_that_gives_more_than_its_length_is_told(tiny, length, told):
    x, y = (t.repeat(2, *[1] * (t.dim() - 1))[:25] for t in pixels())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit(tiny, Short(x, y, length), None, Training(epochs=2, batch_size=8), progress=False)
    words = [str(w.message) for w in said if "__len__" in str(w.message)]
    assert len(words) == told, words
    assert all(f"more images than its __len__ says ({length})" in w for w in words)


class Once(Short):
    """A stream whose second pass gives nothing, as one over an open file does."""

    def __iter__(self):
        if not hasattr(self, "passed"):
            self.passed = True
            yield from super().__iter__()


@pytest.mark.parametrize(("length", "told"), [(40, True), (25, False)])
def test_a_stream_that_gives_less_than_its_length_is_told(tiny, length, told, recwarn):
    x, y = (t.repeat(2, *[1] * (t.dim() - 1))[:25] for t in pixels())
    fit(tiny, Short(x, y, length), None, Training(epochs=2, batch_size=8), progress=False)
    words = [str(w.message) for w in recwarn if "__len__" in str(w.message)]
    assert bool(words) == told
    said = "train gives 3 batches where its __len__ (40) makes 5: the epoch ends there"
    assert all(w.startswith(said) for w in words)


def test_a_stream_whose_second_pass_gives_nothing_is_refused(tiny):
    x, y = (t.repeat(2, *[1] * (t.dim() - 1))[:25] for t in pixels())
    with pytest.raises(DataError, match="gives no batch in this epoch.*has to begin again"):
        fit(tiny, Once(x, y, 25), None, Training(epochs=2, batch_size=8), progress=False)


def test_workers_that_each_give_the_whole_stream_are_told(tiny):
    with pytest.warns(UserWarning, match=r"gives more images than its __len__ .*get_worker_info"):
        fit(tiny, Stream(*pixels()), None, Training(epochs=1, batch_size=8), progress=False, workers=2)


def ranges_told(said):
    return [str(w.message) for w in said if "as if these alone were normalised" in str(w.message)]


def arrays(x, y):
    return [(image.numpy(), int(label)) for image, label in zip(x, y, strict=True)]


@pytest.mark.parametrize("kind", [Images, TensorDataset, arrays])
@pytest.mark.parametrize("form", ["floats", "bytes"])
def test_images_that_are_normalised_in_one_set_alone_are_told(tiny, kind, form, recwarn):
    x, y = pixels()
    plain = (x * 255).byte() if form == "bytes" else x
    normalised = (x - 0.45) / 0.22
    for train, val, name in ((plain, normalised, "val"), (normalised, plain, "train")):
        recwarn.clear()
        fit(tiny, kind(train, y), kind(val, y), ONE, progress=False)
        (words,) = ranges_told(recwarn)
        assert f"{name} over [-2" in words
    recwarn.clear()
    for train, val in (
        (plain, x),
        (normalised, normalised),
        (plain, x + 0.05 * torch.randn_like(x)),
        (plain, None),
    ):
        fit(tiny, kind(train, y), None if val is None else kind(val, y), ONE, progress=False)
    assert ranges_told(recwarn) == []
