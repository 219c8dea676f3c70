"""The same image counted several times: a remark with the count, and no headline where most are copies."""

import warnings

import pytest
import torch
from torch import nn

from surgeon.evaluation import (
    Attack,
    Certificate,
    Outcome,
    Verdict,
    certified_accuracy,
    evaluate,
    summarize,
)
from surgeon.evaluation.beyond.certification import certified_curves
from surgeon.results.copies import copies_of

pytest.importorskip("scipy")


def of(images, labels=None):
    attack = Attack(name="apgd", kind="apgd", eps=0.1, group="standard")
    labels = labels or [0] * len(images)
    shared = {"clean": 0, "margin": 1.0, "success": False, "votes": 1.0}
    rows = [
        Verdict(example=i, image=h, label=y, prediction=y, attack="none", **shared)
        for i, (h, y) in enumerate(zip(images, labels, strict=True))
    ]
    return summarize(Outcome(tuple(rows), (attack,)))


def told(found):
    return [f.text for f in found.findings if f.code == "copies"]


def test_few_copies_are_a_remark_and_most_refuse_the_headline():
    distinct, few, many = (
        [str(i) for i in range(40)],
        [str(i % 38) for i in range(40)],
        [str(i % 4) for i in range(40)],
    )
    assert told(of(distinct)) == [] and of(distinct).headline
    assert told(of(few))[0].startswith("40 test images are 38 distinct ones") and of(few).headline
    found = of(many)
    assert told(found)[0].startswith("40 test images are 4 distinct ones") and found.headline is None
    assert "most images are copies: 40 are 4 distinct ones" in found.refused
    assert of([str(i % 20) for i in range(40)]).headline  # half and half
    assert of([str(i % 19) for i in range(40)]).headline is None


def test_one_image_with_two_labels_is_told_and_unknown_images_are_no_copies():
    assert "39 distinct ones, pixel by pixel, 1 of them with several labels" in " ".join(
        told(of(["a", "a", *map(str, range(38))], [0, 1, *[0] * 38]))
    )
    assert told(of([""] * 40)) == [] and copies_of([("", 0), ("", 0), ("a", 0)]).distinct == 3


def test_copies_are_seen_across_blocks():
    pytest.importorskip("torchattacks")
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(40, 1, 4, 4, generator=draw)
    y = torch.arange(40) % 2
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    attack = Attack(name="fgsm", kind="own-pgd", eps=0.01, steps=1)
    found = summarize(evaluate(network, torch.cat([x] * 5), torch.cat([y] * 5), [attack]))
    assert told(found)[0].startswith("200 test images are 40 distinct ones")
    assert not told(summarize(evaluate(network, x, y, [attack])))


def test_copies_among_certificates_are_told_where_their_share_is_stated():
    fields = {"label": 1, "sigma": 0.25, "count": 99, "n": 100, "prediction": 1, "radius": 0.3}
    twice = [Certificate(example=i, image="ab"[i % 2], **fields) for i in range(4)]
    with pytest.warns(UserWarning, match="4 test images are 2 distinct ones"):
        certified_accuracy(twice, [0.1])
    other = [Certificate(example=i, image="ab"[i], **{**fields, "sigma": 0.5}) for i in range(2)]
    with warnings.catch_warnings():  # the same images at another σ are no copies
        warnings.simplefilter("error")
        certified_curves([*twice[:2], *other])
