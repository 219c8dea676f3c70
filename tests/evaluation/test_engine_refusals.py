"""What the engine refuses to attack, and what it finds in what a model gives."""

import re
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torchvision.models import GoogLeNetOutputs

from surgeon.errors import DataError, SurgeonError
from surgeon.evaluation import (
    Attack,
    Normalized,
    assess,
    evaluate,
    summarize,
)
from surgeon.models.logits import sum_of_probabilities
from surgeon.recipe import Evaluation
from tests.evaluation.attacks_used import MIXED, PGD, same

pytest.importorskip("torchattacks")
pytest.importorskip("scipy")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: (x * 255).to(torch.uint8), "images are uint8; convert them"),
        (lambda x: x * 255, "they look like 0–255"),
        (lambda x: (x - 0.5) / 0.25, "they look normalised already"),
        (lambda x: x.double(), "attacks need float32"),
        (lambda x: x * float("nan"), "not a number"),
        (lambda x: x[0], "must be a batch"),
        (lambda x: x / 0, "not finite|not a number"),
        (
            lambda x: x.expand(-1, 3, -1, -1),
            r"images have 3 channels .* takes 1: images.mean\(1, keepdim=True\)",
        ),
        (lambda x: list(x), r"are a list; give a tensor .*torch.stack"),
        (lambda x: x.numpy(), r"are a ndarray; give a tensor .torch.as_tensor"),
    ],
)
def test_images_of_another_kind_are_refused_with_the_likely_cause(trained, spoil, message):
    model, (x, y) = trained
    with pytest.raises(DataError, match=message):
        evaluate(model, spoil(x), y, PGD)


def test_labels_that_do_not_fit(trained):
    model, (x, y) = trained
    with pytest.raises(DataError, match="96 images have 95 labels"):
        evaluate(model, x, y[:-1], PGD)
    with pytest.raises(DataError, match=r"labels run from 12 to 12, the model has 10 classes"):
        evaluate(model, x, y.clone().fill_(12), PGD)
    with pytest.raises(DataError, match=r"labels run from -1 to"):
        evaluate(model, x, torch.cat([y[:-1], torch.tensor([-1])]), PGD)
    for labels in (y.float(), y[:, None], y.int()):
        with pytest.raises(DataError, match=r"labels are torch.*; give class indices \(N,\), int64"):
            evaluate(model, x, labels, PGD)
    with pytest.raises(DataError, match="images have 3 channels, the normalisation has 1"):
        Normalized(model.model, (0.5,), (0.5,))(x.expand(-1, 3, -1, -1))


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda o: {"scores": o}, "the model gives a dict with the keys scores; wrap it"),
        (lambda o: (), "the model gives a tuple; wrap it"),
        (
            lambda o: (o, o / 2),
            r"a tuple with 2 outputs of the shape \(N, 10\), and nothing says which .* wrap it",
        ),
        (lambda o: [o, None, o], r"a list with 2 outputs of the shape \(N, 10\), and nothing says which"),
        (lambda o: o[:, :, None], r"it must give logits \(N, classes\)"),
        (lambda o: o[:, :1], "a classifier of two classes must give two logits"),
        (lambda o: o * float("nan"), "not finite logits"),
        (
            lambda o: o.softmax(1),
            r"the model gives probabilities \(not negative, sum 1\).* take the softmax off",
        ),
        (
            lambda o: o.softmax(1) + (o / 2).softmax(1),
            r"probabilities \(not negative, sum 2\).* or divide its outputs by 2 and say",
        ),
        (lambda o: 100 * o.softmax(1), r"the model gives probabilities \(not negative, sum 100\)"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(trained, wrap, message):
    model, (x, y) = trained
    with pytest.raises(DataError, match=message):
        evaluate(Normalized(Output(model.model, wrap)), x, y.clamp(max=0), PGD)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda o: (o,),
        lambda o: [o],
        lambda o: {"logits": o, "loss": 0},
        lambda o: {"out": o, "aux": o / 2},
        lambda o: GoogLeNetOutputs(o, o / 2, o / 3),
        lambda o: Answered(loss=o.sum(), logits=o),
    ],
)
def test_logits_that_are_alone_or_named_are_taken_without_a_word(trained, wrap, recwarn):
    model, (x, y) = trained
    subject = Normalized(Output(model.model, wrap))
    assert same(evaluate(subject, x, y, PGD), evaluate(model, x, y, PGD))
    assert not [w for w in recwarn if "outputs" in str(w.message)]


def test_which_output_of_several_is_taken_is_told_in_a_warning_and_in_the_record(trained, tmp_path):
    model, (x, y) = trained
    network = Output(model.model, lambda o: (o, o[:, :3]))
    told = (
        r"a tuple of 2 outputs: the first, \(N, 10\), is taken .* \(\(N, 3\)\) is not looked at; for another"
    )
    with pytest.warns(UserWarning, match=told):
        evaluate(Normalized(network), x, y, PGD)
    with pytest.warns(UserWarning, match=told):
        assessment = assess(network, x, y, Evaluation(suite="basic", attacks=["fgsm"]), tmp_path / "one")
    assert [n for n in assessment.notes if re.search(told, n)]
    chosen = assess(
        Output(network, lambda o: o[0]), x, y, Evaluation(suite="basic", attacks=["fgsm"]), tmp_path / "two"
    )
    assert chosen.summary.rows == assessment.summary.rows
    assert not [n for n in chosen.notes if "outputs" in n]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda o: o.relu(),
        lambda o: o.relu() * 0,
        lambda o: o * 0 + torch.arange(o.shape[1]),
        lambda o: o * 1e-7 + torch.arange(o.shape[1]) + 1,
        lambda o: o - o.mean(1, keepdim=True),
        lambda o: o - o.amin(1, keepdim=True),
    ],
)
def test_outputs_that_are_not_negative_are_logits_where_their_sums_differ(trained, wrap):
    model, (x, y) = trained
    for images in (x, x[:1], x[:1].repeat(2, 1, 1, 1)):
        with torch.no_grad():
            assert sum_of_probabilities(wrap(model(images))) == ""


def test_outputs_of_a_sigmoid_are_told(trained, recwarn):
    model, (x, y) = trained
    evaluate(Normalized(Output(model.model, lambda o: o.softmax(1)), probabilities=True), x, y, PGD)
    assert not [w for w in recwarn if "sigmoid" in str(w.message)]
    with pytest.warns(UserWarning, match="every output of the model is between 0 and 1, as behind a sigmoid"):
        evaluate(Normalized(Output(model.model, torch.sigmoid)), x, y, PGD)


def test_said_probabilities_are_turned_back_into_logits(trained):
    model, (x, y) = trained
    subject = Normalized(Output(model.model, lambda o: o.softmax(1)), probabilities=True)
    said = [summarize(evaluate(m, x, y, MIXED)) for m in (model, subject)]
    assert said[0].clean == said[1].clean
    assert abs(said[0].worst.k - said[1].worst.k) <= 1


def test_half_precision_is_refused_by_the_name_of_a_weight(trained):
    model, (x, y) = trained
    with pytest.raises(
        DataError, match=r"0\.weight is torch\.bfloat16; attacks need float32.*model\.float\(\)"
    ):
        evaluate(nn.Sequential(nn.Conv2d(1, 2, 3)).bfloat16(), x, y, PGD)


@dataclass
class Answered:
    """What a network says, as a dataclass; of Hugging Face's, the loss comes first."""

    loss: torch.Tensor
    logits: torch.Tensor


class Output(nn.Module):
    """A model whose output is wrapped."""

    def __init__(self, model, wrap):
        super().__init__()
        self.model, self.wrap = model, wrap

    def forward(self, x):
        return self.wrap(self.model(x))


def test_sources_and_images_that_no_attack_can_work_on_are_refused_at_once(trained):
    model, (x, y) = trained
    for classes, channels, said in (
        (3, 1, "labels run|has 3 classes"),
        (10, 3, "cannot be attacked on these images"),
    ):
        source = nn.Sequential(nn.Conv2d(channels, 2, 1), nn.Flatten(), nn.Linear(128, classes))
        attack = Attack(name="t", kind="own-pgd", eps=0.1, steps=2, source="s", cascade=False)
        with pytest.raises(DataError, match=f"source s .*({said})"):
            evaluate(model, x, y, [attack], sources={"s": source})
    flat = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 3))
    wide, labels = torch.rand(4, 3, 8, 12), torch.zeros(4, dtype=torch.long)
    with pytest.raises(SurgeonError, match="square in l2 needs square images of 8 pixels or more, not 8x12"):
        evaluate(
            flat, wide, labels, [Attack(name="s", kind="square", norm="l2", eps=1.0, steps=10, loss="margin")]
        )
