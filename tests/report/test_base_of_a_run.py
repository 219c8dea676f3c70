"""Which network a page calls the one before a surgery: the one with the weights that a revert gives."""

import pytest
import torch

import surgeon
from surgeon.data import digits
from surgeon.report import read_run
from surgeon.report.comparing import BASE, KIND, OTHER, comparisons
from tests.report.conftest import SIZE, network


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    pytest.importorskip("torchattacks")
    pytest.importorskip("pyarrow")
    from surgeon.evaluation import assess
    from surgeon.recipe import Evaluation

    test, folder = digits(8)["test"], tmp_path_factory.mktemp("bases")
    stock, other = network().eval(), network().eval()
    with torch.no_grad():
        other[0].weight.mul_(1.5)
    kap = surgeon.apply(stock, "kap", input_size=SIZE, calibration=test.x[:64]).eval()
    settings = Evaluation(suite="basic", attacks=["fgsm"], pictures=False)
    for name, model in (("stock", stock), ("other", other), ("kap", kap)):
        assess(model, test.x[:8], test.y[:8], settings, folder / name, name=name)
    return {name: read_run(folder / name) for name in ("stock", "other", "kap")}


def test_the_network_that_was_cut_is_the_base_wherever_it_stands(found):
    assert found["kap"].found.subject.uncut_weights == found["stock"].found.subject.weights
    (one,) = comparisons([found["kap"], found["other"], found["stock"]])
    assert (one.reference, one.whys) == (2, ((BASE, (0,)), (OTHER, (1,))))


def test_another_uncut_network_is_not_called_the_one_before_the_surgery(found):
    (one,) = comparisons([found["other"], found["kap"]])
    assert (one.reference, one.whys) == (0, ((KIND, (1,)),))
