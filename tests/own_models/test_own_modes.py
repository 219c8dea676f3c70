"""Networks with a `train` of their own: weights merged for evaluation, buffers made for it, norms that stay frozen."""

import copy
import types

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import surgeon
from surgeon.errors import SurgeryError
from surgeon.graph.trees.own_modes import demand_settled
from surgeon.kept_modes import modes_kept
from surgeon.models.quiet import held_still

SIZE = (3, 8, 8)


class Merging(nn.Module):
    """As loralib's: a weight is added to another for evaluation, and taken off again."""

    def __init__(self):
        super().__init__()
        self.conv, self.merged = nn.Conv2d(8, 8, 3, padding=1), False
        self.more = nn.Parameter(torch.randn(8, 8, 3, 3) / 4)

    def train(self, mode=True):
        super().train(mode)
        if mode == self.merged:
            self.conv.weight.data += -self.more.data if mode else self.more.data
            self.merged = not mode
        return self

    def forward(self, x):
        weight = self.conv.weight + self.more if self.training else self.conv.weight
        return F.conv2d(x, weight, self.conv.bias, padding=1)


class Expanding(nn.Module):
    """As e2cnn's: a filter is made for evaluation."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(8, 8, 1, 1))

    def train(self, mode=True):
        if mode and hasattr(self, "filter"):
            del self.filter
        elif not mode and not hasattr(self, "filter"):
            self.register_buffer("filter", self.w.detach().repeat(1, 1, 3, 3))
        return super().train(mode)

    def forward(self, x):
        return F.conv2d(x, self.w.repeat(1, 1, 3, 3) if self.training else self.filter, padding=1)


class Frozen(nn.Module):
    """Its norm stays in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.norm, self.steps = nn.BatchNorm2d(8), 0

    def train(self, mode=True):
        super().train(mode)
        self.norm.train(False)
        return self

    def forward(self, x):
        return self.norm(x)


class Net(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.a, self.inner, self.b, self.fc = nn.Conv2d(3, 8, 3), inner, nn.Conv2d(8, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(self.b(self.inner(self.a(x)).relu()).mean((2, 3)))


def network(kind):
    torch.manual_seed(0)
    return Net(kind())


IMAGES = torch.randn(16, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [Merging, Expanding])
@pytest.mark.parametrize("how", ["apply", "with images", "plan", "save"])
def test_a_network_in_training_mode_that_changes_in_its_own_eval_is_refused(tmp_path, kind, how):
    model = network(kind)
    before = copy.deepcopy(model.state_dict())
    calls = {
        "apply": lambda: surgeon.apply(model, "noise", input_size=SIZE),
        "with images": lambda: surgeon.apply(model, "kap", input_size=SIZE, calibration=IMAGES),
        "plan": lambda: surgeon.plan(model, "noise", input_size=SIZE),
        "save": lambda: surgeon.save(model, tmp_path / "network"),
    }
    said = rf"inner: the eval\(\) of this {kind.__name__} changes more .* (another|new)\).*call model.eval\(\) first"
    with pytest.raises(SurgeryError, match=said):
        calls[how]()
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    assert all(m.training for m in model.modules())


@pytest.mark.parametrize("kind", [Merging, Expanding])
def test_in_evaluation_mode_it_is_cut_and_goes_to_and_fro(kind):
    model = network(kind).eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE)
    for mode in (False, True, False):
        cut.train(mode)
        model.train(mode)
    torch.testing.assert_close(cut(IMAGES), model(IMAGES))


@pytest.mark.parametrize("kind", [Merging, Expanding])
@pytest.mark.filterwarnings("ignore::surgeon.errors.ArtifactWarning")
def test_it_comes_back_from_a_folder_also_onto_one_by_name(tmp_path, kind):
    factory = f"{__name__}:{'merging' if kind is Merging else 'expanding'}"
    for index, given in enumerate(({"allow_code": [__name__]}, {"model": network(kind).eval()})):
        model = surgeon.create_model(factory) if not index else network(kind)
        model.eval()
        for name, saved in (("stock", model), ("cut", surgeon.apply(model, "kwta", input_size=SIZE))):
            loaded = surgeon.load(surgeon.save(saved, tmp_path / f"{name}{index}"), **given)
            torch.testing.assert_close(loaded(IMAGES), saved.eval()(IMAGES))
    with pytest.raises(SurgeryError, match=r"call model.eval\(\) first"):
        surgeon.load(tmp_path / "stock1", model=network(kind))


def merging():
    return network(Merging)


def expanding():
    return network(Expanding)


def test_norms_that_stay_frozen_are_no_change():
    assert surgeon.apply(network(Frozen).train(), "noise", input_size=SIZE).training


def test_what_was_put_on_an_object_is_not_taken_for_a_change():
    model = network(Frozen)
    calls = []
    model.train = lambda mode=True: calls.append(mode) or model
    model.inner.train = types.MethodType(lambda self, mode=True: self, model.inner)
    demand_settled(model)
    assert not calls and model.training


@pytest.mark.parametrize("kind", [Merging, Expanding])
def test_leaving_evaluation_undoes_what_entering_did(kind):
    model = network(kind)
    wanted, keys = model(IMAGES), model.state_dict().keys()
    with held_still(model):
        model(IMAGES)
    with modes_kept(model):
        model.eval()
    assert model.training and model.inner.training and model.state_dict().keys() == keys
    torch.testing.assert_close(model(IMAGES), wanted)
    torch.testing.assert_close(model.eval()(IMAGES), wanted)
