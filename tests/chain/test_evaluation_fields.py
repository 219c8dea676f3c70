"""An evaluation whose subject names another uncut network, or lacks it, does not fit its chain."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.pipeline.chain import subject as chain
from surgeon.pipeline.chain.checking import Misfit

pytest.importorskip("torchattacks")
pytest.importorskip("pyarrow")


@pytest.mark.parametrize(("named", "fits"), [("its own", True), (None, False), ("0" * 16, False)])
def test_the_hash_of_the_uncut_network(tmp_path, named, fits):
    from surgeon.data import HeldOut
    from surgeon.evaluation import assess
    from surgeon.recipe import Evaluation

    torch.manual_seed(0)
    stock = nn.Sequential(
        nn.Conv2d(3, 9, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, 3)
    )
    cut = surgeon.apply(stock, "kap", input_size=(3, 8, 8)).eval()
    images, labels = torch.rand(8, 3, 8, 8), torch.arange(8) % 3
    settings = Evaluation(suite="basic", attacks=["fgsm"], pictures=False)
    found = assess(cut, images, labels, settings, tmp_path)
    named = found.subject.uncut_weights if named == "its own" else named
    other = found.model_copy(update={"subject": found.subject.model_copy(update={"uncut_weights": named})})
    shown = [HeldOut(images, labels, tuple(range(8)), "test", ("a", "b", "c"))]
    if fits:
        chain._said(tmp_path, other, [cut], shown)
    else:
        with pytest.raises(Misfit, match="uncut_weights"):
            chain._said(tmp_path, other, [cut], shown)
