"""Models that take float32 and give logits of another type: attacks compute with them as with float32."""

import pytest
import torch
from torch import nn

from surgeon.errors import ArgumentError, DataError
from surgeon.evaluation import Attack, assess, evaluate
from surgeon.evaluation.attacks.attacked import Attacked
from surgeon.evaluation.attacks.pgd import pgd
from surgeon.recipe import Evaluation

KINDS = ("fgsm", "pgd", "own-pgd", "apgd", "apgdt", "fab", "square", "mi-fgsm")
TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
QUIET = pytest.mark.filterwarnings("ignore:the model gives logits of")
X = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Given(nn.Module):
    """A linear model whose logits, as numbers of `dtype`, are given in `given`."""

    def __init__(self, dtype, given):
        super().__init__()
        self.dtype, self.given = dtype, given
        self.layer = nn.Linear(3 * 64, 4)
        nn.init.normal_(self.layer.weight, std=0.1, generator=torch.Generator().manual_seed(0))
        nn.init.zeros_(self.layer.bias)

    def forward(self, x):
        return self.layer(x.flatten(1)).to(self.dtype).to(self.given)


class Autocast(Given):
    """It computes in bfloat16 by itself."""

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.layer(x.flatten(1))


def of(outcome):
    return [(v.example, v.attack, v.success, v.prediction) for v in outcome.verdicts]


@QUIET
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", TYPES)
def test_the_verdicts_are_those_of_the_same_numbers_in_float32(kind, dtype):
    """They ended in errors of torch, or were right, by the attack."""
    model, same = Given(TYPES[dtype], TYPES[dtype]), Given(TYPES[dtype], torch.float32)
    labels = model(X).argmax(1)
    attack = Attack(name="a", kind=kind, eps=4 / 255, steps=5)
    outcomes = [evaluate(m.eval(), X, labels, [attack]) for m in (model, same)]
    assert of(outcomes[0]) == of(outcomes[1])
    # Of five queries of square one of these images gives way, of five steps of the others four.
    assert kind == "square" or any(v.success for v in outcomes[0].verdicts)


@QUIET
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_computes_in_bfloat16_by_itself_is_attacked(kind):
    model = Autocast(None, None).eval()
    outcome = evaluate(model, X, model(X).argmax(1), [Attack(name="a", kind=kind, eps=16 / 255, steps=5)])
    assert any(v.success for v in outcome.verdicts)


def test_an_attack_is_not_called_as_verdicts_without_one_are():
    with pytest.raises(ArgumentError, match="name='none' is what verdicts without an attack are called"):
        Attack(name="none", kind="fgsm", eps=0.1)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("eot", [1, 2])
def test_pgd_by_itself_gives_the_images_of_the_same_numbers_in_float32(dtype, eot):
    """It ended in an error of torch, as did the pictures of an assessment, which are made with it."""
    model, same = Given(TYPES[dtype], TYPES[dtype]), Given(TYPES[dtype], torch.float32)
    labels = model(X).argmax(1)
    moved = [
        pgd(m.eval(), X, labels, eps=4 / 255, steps=5, random_start=False, eot=eot, early_stop=early)
        for m in (model, same)
        for early in (True, False)
    ]
    assert torch.equal(moved[0], moved[2]) and torch.equal(moved[1], moved[3])
    assert not torch.equal(moved[0], X)


@QUIET
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_an_assessment_has_its_pictures_and_notes_logits_of_16_bits(dtype, tmp_path):
    model = Given(TYPES[dtype], TYPES[dtype]).eval()
    settings = Evaluation(attacks=("fgsm",), diagnostics=0, beyond=False, pictures=True)
    result = assess(model, X, model(X).argmax(1), settings, folder=tmp_path / "e")
    assert result.pictures
    noted = [note for note in result.notes if f"logits of torch.{dtype}" in note]
    assert len(noted) == (dtype == "bfloat16")


@pytest.mark.parametrize(("dtype", "share"), [("bfloat16", "0.8 %"), ("float16", "0.1 %"), ("float64", "")])
@pytest.mark.parametrize("count", [1, 16])
def test_logits_of_16_bits_are_told(dtype, share, count, recwarn):
    """Weights of 16 bits are refused, and nothing was said of logits of them, which also weaken attacks."""
    model = Given(TYPES[dtype], TYPES[dtype]).eval()
    x = X[:count]
    evaluate(model, x, model(x).argmax(1), [Attack(name="a", kind="fgsm", eps=0.01)])
    texts = {str(w.message) for w in recwarn if "gives logits of" in str(w.message)}
    assert len(texts) == bool(share)
    assert all(f"logits of torch.{dtype}" in t and f"rounded to {share} of their size" in t for t in texts)


def test_a_gradient_that_float16_cannot_hold_is_told_as_such():
    """The words sought a root or a division in the model."""
    attacked = Attacked(Given(torch.float16, torch.float16))
    x = X.clone().requires_grad_()
    with pytest.raises(DataError, match="they are torch.float16, whose numbers end at 65504"):
        (attacked(x).sum() * 1e6).backward()
