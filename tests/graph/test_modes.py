"""A module's own mode, where its code passes it to a function, is that of the module at the call, as in the
stock network."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F
from torchvision.models import DenseNet

import surgeon
from tests.own_models.checks import SIZE, images


class Drops(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        x = F.dropout(self.norm(self.conv(x)), 0.5, self.training)
        return F.dropout(x, p=0.5 if self.training else 0.0) + F.dropout(x, 0.0, True)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = Drops(3), Drops(3), nn.Linear(3, 4)

    def forward(self, x):
        return self.head(self.second(self.first(x)).mean((2, 3)))


def drawn(model, x, seed=3):
    torch.manual_seed(seed)
    with torch.no_grad():
        return model(x)


WAYS = {
    "cut": lambda m: m,
    "copied": copy.deepcopy,
    "pickled": lambda m: pickle.loads(pickle.dumps(m)),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("root", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("first", [True, False], ids=["first-train", "first-eval"])
def test_dropout_by_a_function_follows_its_module(root, first, way):
    torch.manual_seed(0)
    model = Two()
    cut = way(surgeon.apply(model, "anl", input_size=SIZE))
    for m in (model, cut):
        m.train(root)
        m.first.train(first)
        m.first.norm.eval()
    x = images()
    assert torch.equal(drawn(cut, x), drawn(model, x))
    assert torch.equal(drawn(fx.symbolic_trace(cut), x), drawn(model, x))
    assert torch.equal(drawn(cut, x), drawn(cut, x, seed=4)) == (not root and not first)


def test_densenet_frozen_below_a_root_in_training():
    torch.manual_seed(0)
    model = DenseNet(4, (2, 2), 8, num_classes=3, drop_rate=0.5)
    cut = surgeon.apply(model, "anl", input_size=(3, 32, 32))
    x = torch.randn(2, 3, 32, 32)
    for root, features in ((True, False), (False, True)):
        for m in (model, cut):
            m.train(root)
            m.features.train(features)
            for norm in (n for n in m.modules() if isinstance(n, nn.BatchNorm2d)):
                norm.eval()
        assert torch.equal(drawn(cut, x), drawn(model, x))


class Branches(Drops):
    def forward(self, x):
        x = self.norm(self.conv(x))
        return F.dropout(x, 0.5) if self.training else x


def test_code_that_branches_on_a_mode_of_its_own_is_told():
    model = Two()
    model.first = Branches(3)
    cut = surgeon.apply(model, "noise", input_size=SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cut.train()(images())
        cut.second.eval()
        cut(images())
        cut.eval()(images())
    for training, said in ((True, "first is in evaluation mode"), (False, "first is in training mode")):
        cut.train(training)
        cut.first.train(not training)
        with pytest.warns(UserWarning, match=f"{said} and the rewritten network around it"):
            cut(images())
