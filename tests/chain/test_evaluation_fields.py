"""An evaluation from before its subject named the uncut network's weights fits; one that names others does not."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.pipeline.chain import subject as chain
from surgeon.pipeline.chain.checking import Misfit

pytest.importorskip("torchattacks")
pytest.importorskip("pyarrow")


@pytest.mark.parametrize(("named", "fits"), [(None, True), ("0" * 16, False)])
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
    other = found.model_copy(update={"subject": found.subject.model_copy(update={"uncut_weights": named})})
    shown = [HeldOut(images, labels, tuple(range(8)), "test", ("a", "b", "c"))]
    if fits:
        chain._said(tmp_path, other, [cut], shown)
    else:
        with pytest.raises(Misfit, match="uncut_weights"):
            chain._said(tmp_path, other, [cut], shown)
