"""Every kind of attack can be asked for by its name, one at a time."""

import pytest
import torch
from torch import nn

from surgeon.errors import MissingPackageError, SurgeonError
from surgeon.evaluation import evaluate, suite, summarize
from surgeon.evaluation.attacks.adv_lib import adv_lib
from surgeon.recipe import Evaluation
from surgeon.results.kinds import KINDS, NORMS
from surgeon.results.named import NAMED, needs_in_words

pytest.importorskip("torchattacks")


def _package():
    try:
        adv_lib("attacks")
    except MissingPackageError as error:
        pytest.skip(str(error))


def given():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, 5)).eval()
    x = torch.rand(12, 1, 8, 8)
    with torch.no_grad():
        return model, x, model(x).argmax(1)


def test_every_kind_has_a_name():
    assert {named.kind for named in NAMED.values()} == set(KINDS) - {"none"}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", NAMED)
def test_each_runs_alone_in_its_norms_and_says_so_in_others(name, norm):
    settings = dict(attacks=(name,), norm=norm, eps={"linf": 0.1, "l2": 1.0, "l1": 6.0}[norm], steps=30)
    if norm not in NAMED[name].norms:
        with pytest.raises(
            SurgeonError, match=f"{name} is an attack in .*, and the norm is {norm}; in {norm} there are"
        ):
            Evaluation(**settings)
        return
    (attack,) = suite(Evaluation(**settings), classes=5)
    if attack.needs.package == "adv-lib":
        _package()
    model, x, y = given()
    outcome = evaluate(model, x, y, [attack])
    turned = sum(v.success for v in outcome if v.attack != "none")
    assert len(outcome) == 24 and summarize(outcome).rows[0].attack in (name, "fgm")
    # Noise is no attack; each of the others turns most images of this network at this size.
    assert turned >= (0 if name in ("random-sign", "uniform") else 4), turned


def test_each_has_its_own_number_of_steps_and_a_setting_overrides_it():
    alone = {a.name: a.steps for a in suite(Evaluation(attacks=("apgd-ce", "square", "pgd", "fgsm")))}
    assert alone == {"apgd-ce": 100, "square": 5000, "pgd": 20, "fgsm": 1}
    seven = {a.name: a.steps for a in suite(Evaluation(attacks=("apgd-ce", "square", "fgsm"), steps=7))}
    assert seven == {"apgd-ce": 7, "square": 7, "fgsm": 1}


def test_an_unknown_name_is_one_line_that_lists_the_known_ones_with_their_needs():
    with pytest.raises(SurgeonError) as raised:
        Evaluation(attacks=("apgd-c",))
    text = str(raised.value)
    assert "\n" not in text and "did you mean 'apgd-ce'" in text
    for part in map(needs_in_words, NAMED):
        assert part in text
    assert needs_in_words("alma") == "alma (l2 or l1; 3 classes; a distance, no ε; adv-lib)"
    assert needs_in_words("apgd-t") == "apgd-t (4 classes; adv-lib in l1)"


def test_too_few_classes_are_told_and_not_worked_around():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    x = torch.rand(4, 1, 8, 8)
    attacks = suite(Evaluation(attacks=("apgd-t",)), classes=3)
    with pytest.raises(SurgeonError, match="needs a model of 4 classes or more, this one has 3"):
        evaluate(model, x, model(x).argmax(1), attacks)
