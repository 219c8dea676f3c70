"""Models that take float32 and give logits of another type: attacks compute with them as with float32."""

import pytest
import torch
from torch import nn

from surgeon.errors import ArgumentError
from surgeon.evaluation import Attack, evaluate

KINDS = ("fgsm", "pgd", "own-pgd", "apgd", "apgdt", "fab", "square", "mi-fgsm")
TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", TYPES)
def test_the_verdicts_are_those_of_the_same_numbers_in_float32(kind, dtype):
    """They ended in errors of torch, or were right, by the attack."""
    model, same = Given(TYPES[dtype], TYPES[dtype]), Given(TYPES[dtype], torch.float32)
    labels = model(X).argmax(1)
    attack = Attack(name="a", kind=kind, eps=4 / 255, steps=5)
    outcomes = [evaluate(m.eval(), X, labels, [attack]) for m in (model, same)]
    assert of(outcomes[0]) == of(outcomes[1])
    assert any(v.success for v in outcomes[0].verdicts)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_computes_in_bfloat16_by_itself_is_attacked(kind):
    model = Autocast(None, None).eval()
    outcome = evaluate(model, X, model(X).argmax(1), [Attack(name="a", kind=kind, eps=16 / 255, steps=5)])
    assert any(v.success for v in outcome.verdicts)


def test_an_attack_is_not_called_as_verdicts_without_one_are():
    with pytest.raises(ArgumentError, match="name='none' is what verdicts without an attack are called"):
        Attack(name="none", kind="fgsm", eps=0.1)
