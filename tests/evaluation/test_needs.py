"""What an attack needs of a model and its images is known before it is run, at every door."""

import pytest
import torch
from torch import nn

from surgeon.errors import SurgeonError
from surgeon.evaluation import Attack, assess, diagnose, evaluate, transfer_matrix
from surgeon.evaluation.attacks.dispatch import run_attack
from surgeon.evaluation.engine.scoring import check_adversarial
from surgeon.recipe import Evaluation

pytest.importorskip("torchattacks")
pytest.importorskip("scipy")
KINDS = [
    {"kind": "fgsm"},
    {"kind": "pgd"},
    {"kind": "pgd", "norm": "l2"},
    {"kind": "own-pgd", "loss": "margin"},
    {"kind": "own-pgd", "loss": "dlr"},
    {"kind": "apgd"},
    {"kind": "apgd", "loss": "dlr"},
    {"kind": "apgdt"},
    {"kind": "apgdt", "norm": "l2"},
    {"kind": "fab"},
    {"kind": "square", "loss": "margin"},
    {"kind": "square", "norm": "l2", "loss": "margin"},
    {"kind": "mi-fgsm"},
    {"kind": "cw", "norm": "l2", "eps": None},
]


class Net(nn.Module):
    """Of any images, with so many classes."""

    def __init__(self, classes, channels=2):
        super().__init__()
        torch.manual_seed(classes)
        self.conv, self.head = nn.Conv2d(channels, 4, 1), nn.Linear(4, classes)

    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))


def given(classes, size=(8, 8), channels=2):
    model = Net(classes, channels).eval()
    x = torch.rand(3, channels, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model, x, model(x).argmax(1)


def attack(kind):
    return Attack(name="a", **{"eps": 0.05, "steps": 1 if kind["kind"] == "fgsm" else 3, **kind})


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: "-".join(map(str, k.values())))
@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (8, 20), (20, 8)], ids=str)
def test_every_attack_runs_where_its_needs_are_met_and_says_so_where_they_are_not(kind, classes, size):
    made, (model, x, y) = attack(kind), given(classes, size)
    needs = made.needs
    met = classes >= needs.classes and (needs.side is None or (size[0] == size[1] >= needs.side))
    if met:
        check_adversarial(run_attack(made, model, x, y), x, made)
        assert len(evaluate(model, x, y, [made]).verdicts) == 6
        return
    for door in (lambda: run_attack(made, model, x, y), lambda: evaluate(model, x, y, [made])):
        with pytest.raises(
            SurgeonError, match=r"needs .*(use (own-pgd with the loss margin|square in linf)|use margin)"
        ):
            door()


def test_the_doors_name_the_attack_and_what_would_work(tmp_path):
    two, x, y = given(2)
    text = (
        r"apgd-dlr \(apgd with the loss dlr\) needs a model of 3 classes or more, this one has "
        r"2: use own-pgd with the loss margin"
    )
    dlr = Attack(name="apgd-dlr", kind="apgd", eps=0.05, steps=3, loss="dlr")
    with pytest.raises(SurgeonError, match=text):
        evaluate(two, x, y, [dlr])
    with pytest.raises(SurgeonError, match=text):
        transfer_matrix({"one": two}, x, y, dlr)
    wide, x, y = given(5, (8, 12))
    text = (
        r"square in l2 needs square images of 8 pixels or more, not 8x12: resize them "
        r"\(input_size\), or use square in linf"
    )
    with pytest.raises(SurgeonError, match=text):
        diagnose(wide, x, y, eps=0.5, norm="l2")
    with pytest.raises(SurgeonError, match=text):  # before any attack: the diagnosis comes last
        basic = Evaluation(suite="basic", attacks=("pgd",), norm="l2", eps=0.5, diagnostics=40)
        assess(wide, x, y, basic, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert diagnose(wide, x, y, eps=0.05).eps == 0.05


@pytest.mark.parametrize("eps", [11.4, 128, 1e20])
def test_a_size_in_l2_beyond_all_images_is_refused(tmp_path, eps):
    model, x, y = given(5, (8, 8))
    text = (
        r"in l2 is more than pixels can change: no two images of 2×8×8 pixels in \[0, 1\] are "
        r"farther apart than 11.31"
    )
    with pytest.raises(SurgeonError, match=text):
        diagnose(model, x, y, eps=eps, norm="l2")
    basic = Evaluation(suite="basic", attacks=("pgd",), norm="l2", eps=eps)
    with pytest.raises(SurgeonError, match=text):
        assess(model, x, y, basic, tmp_path / "a")
    assert not (tmp_path / "a").exists()
