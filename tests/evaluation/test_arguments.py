"""Arguments of the public functions that make no sense: one error at the door, in their own words, before any
attack."""

import math

import pytest
import torch
from torch import nn

from surgeon.arguments import SEEDS, checked_count, checked_number, checked_seed
from surgeon.errors import ArgumentError, DataError, RecipeError, SurgeonError
from surgeon.evaluation import (
    Attack,
    Normalized,
    Store,
    adversarial_images,
    assess,
    certified_accuracy,
    certify,
    diagnose,
    evaluate,
    noise_accuracy,
    noise_table,
    suite,
    summarize,
    transfer_matrix,
    wilson,
)
from surgeon.recipe import Evaluation

pytest.importorskip("torchattacks")
pytest.importorskip("scipy")
PGD = Attack(name="pgd", kind="own-pgd", eps=0.1, steps=2)
CHEAP = Evaluation(suite="basic", attacks=("own-pgd",), eps=0.1, steps=2)


class Reader(nn.Module):
    """Three classes of gray 4 × 4 images; `wrap` changes what it gives, `before` what it is given."""

    def __init__(self, wrap=lambda o: o, before=lambda x: x):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.wrap, self.before = nn.Linear(16, 3), wrap, before

    def forward(self, x):
        return self.wrap(self.inner(self.before(x).flatten(1)))


def told(x):
    """x, by way of its length times 0: at a black image the root's slope is infinite, and times 0 no number."""
    return x * (x.flatten(1).square().sum(1).sqrt()[:, None, None, None] * 0 + 1)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(12, 1, 4, 4, generator=generator), torch.arange(12) % 3


ALL = {
    "evaluate": lambda m, x, y, **more: evaluate(m, x, y, [PGD], **more),
    "diagnose": lambda m, x, y, **more: diagnose(m, x, y, **{"eps": 0.1, **more}),
    "certify": lambda m, x, y, **more: certify(m, x, y, **{"sigma": 0.1, "n": 10, "n0": 5, **more}),
    "noise_accuracy": lambda m, x, y, **more: noise_accuracy(m, x, y, [0.1], **more),
    "noise_table": lambda m, x, y, **more: noise_table(m, x, y, **more),
    "transfer_matrix": lambda m, x, y, **more: transfer_matrix({"a": m}, x, y, PGD, **more),
}
FOLLOW = ("evaluate", "diagnose", "transfer_matrix")


@pytest.fixture(params=[*ALL, "assess"])
def call(request, tmp_path):
    """A public function, of a model, images and labels."""
    if request.param == "assess":
        return lambda m, x, y, **more: assess(m, x, y, CHEAP, tmp_path / "out", **more)
    return ALL[request.param]


@pytest.mark.parametrize("seed", ["1", 2**64, SEEDS, -1, True, 1.0, None])
def test_seeds(call, data, seed):
    with pytest.raises(
        SurgeonError, match=rf"seed={seed!r} is not a seed: give a whole number from 0 to 4,294,967,295"
    ):
        call(Reader(), *data, seed=seed)


def test_the_highest_seed_is_one(data):
    import numpy

    assert noise_accuracy(Reader(), *data, [0.1], seed=SEEDS - 1)
    assert checked_seed(numpy.int64(3)) == 3 and type(checked_seed(numpy.int64(3))) is int


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x, y: (x[:0], y[:0]), "there are no images to evaluate on"),
        (lambda x, y: (x.tolist(), y), "images are a list; give a tensor"),
        (lambda x, y: (x, y.tolist()), "labels are a list; give a tensor"),
        (lambda x, y: (x, y.float()), r"labels are torch.float32 \(12,\); give class indices \(N,\), int64"),
        (lambda x, y: (x, y + 1), "labels run from 1 to 3, the model has 3 classes"),
        (lambda x, y: (x, torch.cat([y[:-1], torch.tensor([2**40])])), "labels run from 0 to 1099511627776"),
        (lambda x, y: (x, y[:-1]), "12 images have 11 labels"),
        (lambda x, y: (x.to("meta"), y), "images lie on the device meta"),
        (
            lambda x, y: (x.expand(-1, 3, -1, -1), y),
            r"the model does not take images of \(3, 4, 4\): mat1 and mat2",
        ),
        (lambda x, y: (x.double(), y), "images are torch.float64; attacks need float32"),
        (lambda x, y: (x.log() / 0, y), "images have values that are not|images range over"),
    ],
)
def test_images_and_labels(call, data, spoil, message):
    with pytest.raises(DataError, match=message):
        call(Reader(), *spoil(*data))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: x, "the model is a function; give a torch.nn.Module"),
        (Reader().to("meta"), "the model's weights lie on the device meta"),
        (Reader(lambda o: o[:, :, None]), r"it must give logits \(N, classes\)"),
        (Reader(lambda o: o.argmax(1)), r"must give logits|gives torch.int64"),
        (
            Reader(lambda o: nn.functional.one_hot(o.argmax(1), 3)),
            "the model gives torch.int64; it must give logits",
        ),
        (Reader(lambda o: o[:-1]), r"the model gives \(7, 3\) for 8 images"),
        (Reader(lambda o: o * math.nan), "not finite logits"),
    ],
)
def test_models_and_what_they_give(call, data, model, message):
    with pytest.raises(DataError, match=message):
        call(model, *data)


@pytest.mark.parametrize("kind", FOLLOW)
@pytest.mark.parametrize(
    "model",
    [
        Reader(before=lambda x: x.detach()),
        Reader(lambda o: o.detach()),
        Reader(lambda o: nn.functional.one_hot(o.argmax(1), 3).float() * 9 - 4),
    ],
    ids=["of detached images", "detached", "in whole numbers"],
)
def test_a_model_without_gradients_is_told_as_one(data, kind, model):
    with pytest.raises(
        DataError, match="outputs have no gradient with respect to the images .it detaches them"
    ):
        ALL[kind](model, *data)


def test_an_assessment_of_a_model_without_gradients_or_with_broken_ones(data, tmp_path):
    x, y = data
    with pytest.raises(DataError, match="the model's outputs have no gradient with respect to the images"):
        assess(Reader(lambda o: o.detach()), x, y, CHEAP, tmp_path / "one")
    x[3:5] = 0
    with pytest.raises(DataError, match="the model's gradient is not finite at 2 of 12 images"):
        assess(Reader(before=told), x, y, CHEAP, tmp_path / "two")


@pytest.mark.parametrize("kind", FOLLOW)
def test_a_gradient_that_is_not_finite_is_the_models_fault_and_counted(data, kind):
    x, y = data
    x[3:5] = 0
    model = Reader(before=told)
    assert bool(model(x).isfinite().all())
    y = model(x).argmax(1)  # that diagnostics, which are of right images, see them all
    with pytest.raises(DataError, match="gradient is not finite at 2 of 12 images, where its outputs are"):
        ALL[kind](model, x, y)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_a_gradient_that_breaks_on_an_attacks_way_is_told_as_one(data, batch_size):
    x, y = data
    x = x.clamp(min=0.2)
    black = Attack(
        name="all", kind="own-pgd", eps=1.0, step_size=1.0, steps=3, random_start=False, early_stop=False
    )
    model = Reader(before=told)
    with torch.no_grad():
        model.inner.weight.abs_()
        model.inner.weight[1:] = 0  # the loss falls to black images
        model.inner.bias.copy_(torch.tensor([0.1, 0.0, 0.0]))
    with pytest.raises(DataError, match=r"gradient is not finite at \d+ of \d+ images"):
        evaluate(model, x, torch.zeros_like(y), [black], batch_size=batch_size)


def test_attacks_that_follow_no_gradient_need_none(data):
    free = [Attack(name=k, kind=k, eps=0.1) for k in ("random-sign", "uniform")]
    found = evaluate(Reader(lambda o: o.detach()), *data, free)
    assert len(found.verdicts) > len(data[0])


@pytest.mark.parametrize("size", [0, -3, True, 1.5, "8"])
def test_batch_sizes_draws_and_counts(data, size, tmp_path):
    said = rf"={size!r} must be a whole number, 1 or more"
    for name, ask in {
        "batch_size": lambda: evaluate(Reader(), *data, [PGD], batch_size=size),
        " ?batch_size": lambda: assess(Reader(), *data, CHEAP, tmp_path / "a", batch_size=size),
        "batch_size ?": lambda: diagnose(Reader(), *data, eps=0.1, batch_size=size),
        "draws": lambda: evaluate(Reader(), *data, [PGD], draws=size),
        " ?draws": lambda: noise_accuracy(Reader(), *data, [0.1], draws=size),
        "n": lambda: certify(Reader(), *data, sigma=0.1, n=size),
        "n0": lambda: certify(Reader(), *data, sigma=0.1, n0=size),
        "batch_size  ?": lambda: certify(Reader(), *data, sigma=0.1, batch_size=size),
    }.items():
        with pytest.raises(SurgeonError, match=name.strip(" ?") + said):
            ask()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, "0.1", True, None])
def test_sizes_that_are_no_numbers_are_not_blamed_on_the_model(data, value):
    for name, ask in {
        "sigma": lambda: certify(Reader(), *data, sigma=value),
        "sigma ": lambda: noise_table(Reader(), *data, sigma=value),
        "eps": lambda: diagnose(Reader(), *data, eps=value),
        "alpha": lambda: certify(Reader(), *data, sigma=0.1, alpha=value),
        "a noise level": lambda: noise_accuracy(Reader(), *data, [0.1, value]),
        "a radius": lambda: certified_accuracy([], [value]),
    }.items():
        with pytest.raises(SurgeonError, match=rf"^{name.strip()}={value!r} must be a finite number"):
            ask()


def test_a_sigma_of_nothing_and_an_alpha_of_one(data):
    with pytest.raises(SurgeonError, match="sigma=0 must be a finite number above 0"):
        certify(Reader(), *data, sigma=0)
    with pytest.raises(SurgeonError, match="alpha=1.0 must be a finite number above 0 and below 1"):
        certify(Reader(), *data, sigma=0.1, alpha=1.0)
    with pytest.raises(SurgeonError, match="norm='l3' is not known"):
        diagnose(Reader(), *data, eps=0.1, norm="l3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": math.inf}, "eps.*finite number"),
        ({"eps": math.nan}, "eps.*finite number"),
        ({"eps": -1.0}, "eps.*greater than 0"),
        ({"certify": (0.25, math.nan)}, "certify.*(finite number|greater than 0)"),
        ({"certify": (0.0,)}, "certify.*greater than 0"),
        ({"certify": (0.25, 0.25)}, r"certify=\(0.25, 0.25\) has a σ twice"),
        ({"gaussian": (-1.0,)}, "gaussian.*greater than or equal to 0"),
        ({"patches": (0,)}, "patches.*greater than 0"),
        ({"samples": 0}, "samples.*greater than or equal to 1"),
    ],
)
def test_settings_that_were_changed_behind_their_checks(data, change, message, tmp_path):
    with pytest.raises(RecipeError, match=message):
        assess(Reader(), *data, CHEAP.model_copy(update=change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_things_of_another_kind(data, tmp_path):
    with pytest.raises(RecipeError, match="settings are a dict; give a surgeon.recipe.Evaluation"):
        assess(Reader(), *data, {"suite": "quick"}, tmp_path / "out")
    for odd, said in (([("pgd", 1)], "a tuple among them"), (PGD, "one attack")):
        with pytest.raises(SurgeonError, match=f"attacks are {said}; give a list"):
            evaluate(Reader(), *data, odd)
    with pytest.raises(SurgeonError, match="store is a PosixPath; give"):
        evaluate(Reader(), *data, [PGD], store=tmp_path)
    with pytest.raises(SurgeonError, match="2 examples, 2 of them different, for 12 images"):
        evaluate(Reader(), *data, [PGD], examples=[1, 2])
    with pytest.raises(SurgeonError, match="12 examples, 1 of them different, for 12 images"):
        certify(Reader(), *data, sigma=0.1, examples=[1] * 12)
    for mean, std in (((0.5,), (0.0,)), ((math.nan,), (1.0,)), ((0.5, 0.5), (1.0,))):
        with pytest.raises(DataError, match="must be finite, one number a channel, std above 0"):
            Normalized(Reader(), mean, std)
    with pytest.raises(DataError, match="the model is a function; give a torch.nn.Module"):
        Normalized(lambda x: x)
    with pytest.raises(SurgeonError, match="k=3 of n=2 is not a share"):
        wilson(3, 2)
    with pytest.raises(SurgeonError, match="classes='10' must be a whole number"):
        suite(CHEAP, classes="10")


def test_adversarial_images_are_of_all_images(data, tmp_path):
    found = evaluate(Reader(), *data, [PGD], store=Store(tmp_path / "s", keep=True))
    assert adversarial_images(str(tmp_path / "s"), found, data[0]).shape == data[0].shape
    with pytest.raises(DataError, match="the outcome is of 12 images, and 3 are given"):
        adversarial_images(tmp_path / "s", found, data[0][:3])


def test_two_deviations_that_print_alike_have_folders_of_their_own(data, tmp_path):
    two = (0.25, 0.2500001)
    settings = CHEAP.model_copy(update={"certify": two, "certify_draws": 20, "certify_samples": 2})
    found = assess(Reader(), *data, settings, tmp_path / "out")
    assert [c.sigma for c in found.certified] == list(two)
    assert sorted(p.name for p in (tmp_path / "out").glob("certification-*")) == [
        "certification-0.25",
        "certification-0.2500001",
    ]


def test_two_sizes_that_print_alike_are_two_accuracies(data):
    many = [Attack(name="fgsm", kind="fgsm", eps=e, cascade=False) for e in (0.05, 0.05000001, 0.1)]
    robust = summarize(evaluate(Reader(), *data, many)).robust
    assert list(robust) == ["fgsm linf 0.05 (, ε 0.05)", "fgsm linf 0.05 (, ε 0.05000001)", "fgsm linf 0.1"]


def test_numbers_that_are_in_order():
    assert (checked_count("n", 3), checked_number("n", 0), checked_number("n", 2)) == (3, 0.0, 2.0)


@pytest.mark.parametrize(
    "more, message",
    [
        ({"steps": 9}, "two attacks are called 'pgd' and differ in steps=2 and 9"),
        ({"steps": 9, "seed": 1}, "two attacks are called 'pgd' and differ in steps=2 and 9"),
        ({}, "the attack 'pgd' is there twice with seed=0"),
    ],
)
def test_two_attacks_under_one_name_are_not_one_row(data, more, message):
    """Their verdicts were one: a weak attack was said to have turned what a strong one did, or their mean was given."""
    model, images, labels = Reader(), *data
    with pytest.raises(SurgeonError, match=message):
        evaluate(model, images, labels, [PGD, PGD.model_copy(update=more)])


def test_draws_of_one_attack_and_its_sizes_are_told_apart(data):
    model, images, labels = Reader(), *data
    more = [PGD.model_copy(update={"seed": 1}), PGD.model_copy(update={"eps": 0.2})]
    rows = summarize(evaluate(model, images, labels, [PGD, *more])).rows
    assert [(r.eps, r.seeds) for r in rows] == [(0.1, (0, 1)), (0.2, (0,))]


@pytest.mark.parametrize("measure", [noise_accuracy, noise_table])
def test_noise_of_more_than_the_range_of_pixels_is_refused(data, measure):
    how = {"levels": [8]} if measure is noise_accuracy else {"sigma": 8}
    with pytest.raises(SurgeonError, match="=8 of noise on pixels is more than pixels can change.*8/255"):
        measure(Reader(), *data, **how)


def test_the_range_that_is_told_is_that_of_all_labels():
    images = torch.rand(30, 1, 4, 4)
    for labels in (torch.arange(30) // 10 - 1, torch.arange(30) // 10 + 1):
        with pytest.raises(
            DataError, match=rf"labels run from {labels[0]} to {labels[-1]}, the model has 3 classes"
        ):
            evaluate(Reader(), images, labels, [PGD])


def test_yes_and_no_are_no_size():
    for given in ({"eps": True}, {"eps": 0.1, "step_size": True}):
        with pytest.raises(SurgeonError, match="True is not a number; write for instance 8/255"):
            Attack(name="a", kind="own-pgd", **given)


def test_models_without_names_are_refused():
    with pytest.raises(ArgumentError, match="models is a list; give a mapping of names"):
        transfer_matrix([torch.nn.Flatten()], torch.rand(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64), PGD)


def test_sources_without_names_are_refused(trained):
    model, (x, y) = trained
    with pytest.raises(ArgumentError, match="sources is a list; give a mapping of names"):
        evaluate(model, x, y, [PGD], sources=[model])
