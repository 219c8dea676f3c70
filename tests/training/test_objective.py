"""What a step minimises, against the formulas written out."""

import math

import pytest
import torch

from surgeon.errors import DataError
from surgeon.training.objective import AUXILIARY, Objective, divergence, outputs_of

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]], dtype=torch.float64)


def entropy(row, label):
    return math.log(sum(math.exp(v) for v in row)) - row[label]


def test_cross_entropy_of_each_sample():
    found = Objective()(LOGITS, torch.tensor([0, 2]))
    assert found.tolist() == pytest.approx([entropy(LOGITS[0].tolist(), 0), entropy(LOGITS[1].tolist(), 2)])


def test_label_smoothing_spreads_the_share_over_all_classes():
    row = LOGITS[0].tolist()
    (found,) = Objective(smoothing=0.3)(LOGITS[:1], torch.tensor([0]))
    assert float(found) == pytest.approx(0.7 * entropy(row, 0) + 0.1 * sum(entropy(row, c) for c in range(3)))


def test_soft_labels_are_not_smoothed_again():
    soft = torch.tensor([[0.6, 0.4, 0.0]], dtype=torch.float64)
    (found,) = Objective(smoothing=0.3)(LOGITS[:1], soft)
    row = LOGITS[0].tolist()
    assert float(found) == pytest.approx(0.6 * entropy(row, 0) + 0.4 * entropy(row, 1))


def test_further_outputs_count_less():
    y = torch.tensor([0, 1])
    one = Objective()(LOGITS, y)
    for several in ((LOGITS, LOGITS), [LOGITS, None, LOGITS], {"out": LOGITS, "aux": LOGITS}):
        assert torch.allclose(Objective()(several, y), (1 + AUXILIARY) * one)


def test_what_is_no_logits_is_no_part_of_the_loss():
    y = torch.tensor([0, 1])
    one, loss, features = Objective()(LOGITS, y), torch.tensor(3.0), torch.ones(2, 5)
    for output in ({"loss": loss, "logits": LOGITS}, {"features": features, "out": LOGITS}):
        assert torch.equal(Objective()(output, y), one)
    with pytest.raises(DataError, match=r"outputs of \(2, 3\) and \(2, 5\), and each of them .* wrap it"):
        Objective()((LOGITS, features), y)


def test_trades_adds_the_divergence_of_the_second_half():
    attacked = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([0, 1])
    p, q = LOGITS.softmax(1), attacked.softmax(1)
    by_hand = [sum(float(a * (a / b).log()) for a, b in zip(p[i], q[i], strict=True)) for i in range(2)]
    assert divergence(attacked, LOGITS).tolist() == pytest.approx(by_hand)
    found = Objective(beta=6.0)(torch.cat([LOGITS, attacked]), y)
    assert found.tolist() == pytest.approx(
        [float(e) + 6 * d for e, d in zip(Objective()(LOGITS, y), by_hand, strict=True)]
    )


def test_outputs_without_logits_are_refused():
    with pytest.raises(DataError, match="the model gives a dict without a tensor"):
        outputs_of({})


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (
            lambda o: o[:, :, None, None],
            r"float32 of \(4, 3, 1, 1\) for a batch of images; it must give logits",
        ),
        (lambda o: o[:, 0], r"float32 of \(4,\) for a batch"),
        (lambda o: o.argmax(1, keepdim=True), r"int64 of \(4, 1\) for a batch"),
        (lambda o: o.softmax(1), "gives probabilities .*: take the softmax off"),
        (lambda o: o.softmax(1) + (o / 2).softmax(1), "gives probabilities .*sum 2.*: take the softmax off"),
    ],
)
def test_a_network_that_gives_no_logits_is_refused_at_the_first_step(last, said):
    from torch import nn

    from surgeon.data import Images
    from surgeon.recipe import Training
    from surgeon.training import fit

    class Gives(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.last = nn.Linear(48, 3), last

        def forward(self, x):
            return self.last(self.fc(x.flatten(1)))

    images = Images(torch.rand(8, 3, 4, 4), torch.arange(8) % 3)
    with pytest.raises(DataError, match=said):
        fit(Gives(), images, None, Training(epochs=1, batch_size=4), device="cpu", progress=False)
    with pytest.raises(DataError, match=said.replace("4,", "8,", 1) if "(4" in said else said):
        fit(Gives(), images, images, Training(epochs=1, batch_size=8), device="cpu", progress=False)


def test_the_logarithms_of_probabilities_are_logits():
    outputs_of(LOGITS.log_softmax(1))
    from surgeon.training.objective import check_logits

    check_logits(LOGITS.log_softmax(1))
    check_logits(torch.zeros(4, 3))
    check_logits(torch.ones(4, 1))


def test_a_sigmoid_is_told_and_logits_of_any_kind_are_not():
    import warnings

    from surgeon.training.objective import check_logits

    with pytest.warns(UserWarning, match="every output of the model is between 0 and 1, as behind a sigmoid"):
        check_logits(LOGITS.sigmoid())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for logits in (
            LOGITS,
            LOGITS.relu() * 10,
            torch.zeros(4, 3),
            torch.ones(4, 2),
            LOGITS.log_softmax(1),
        ):
            check_logits(logits)
