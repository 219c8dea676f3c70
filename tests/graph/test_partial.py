"""Networks that torch.fx cannot follow as a whole are cut inside, and stay of their class."""

import copy

import pytest
import timm
import torch
from torch import nn

import surgeon


class Choosy(nn.Module):
    """Branches on the values of its input."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.lone = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        x = self.body(x)
        if x.sum() > 0:
            x = self.lone(x)
        return self.head(x.mean((2, 3)))


def test_the_part_that_can_be_followed_is_cut_and_the_rest_is_named():
    torch.manual_seed(0)
    model = Choosy().eval()
    cut = surgeon.apply(model, {"op": "kap", "start": "naive"}, input_size=(3, 8, 8)).eval()
    assert type(cut) is Choosy
    assert [e.site for e in cut.surgery.edits] == ["body.0"]
    assert [n.code for n in cut.surgery.notes if n.code == "partial"] == ["partial"]
    assert "cannot be traced" in next(p.reason for p in cut.surgery.passed_over if p.site == "lone")
    x = torch.rand(2, 3, 8, 8)
    assert not torch.equal(cut(x), model(x))
    assert torch.allclose(surgeon.fold(cut)(x), cut(x), atol=1e-5)
    back = surgeon.revert(cut)
    assert type(back.body) is nn.Sequential and torch.equal(back(x), model(x))
    assert list(cut.state_dict()) != [] and set(model.state_dict()) <= set(cut.state_dict())
    assert torch.equal(copy.deepcopy(cut)(x), cut(x))


def test_a_part_of_a_timm_network_that_branches_on_sizes_is_cut_inside():
    model = timm.create_model("vgg11", num_classes=3).eval()
    cut = surgeon.apply(
        model, {"op": "kap", "select": {"include": "features.0"}}, input_size=(3, 32, 32)
    ).eval()
    assert type(cut.pre_logits) is type(model.pre_logits)
    names = {s.name for s in surgeon.sites(model, input_size=(3, 32, 32))}
    assert {"pre_logits.fc1", "pre_logits.fc2"} <= names


@pytest.mark.parametrize(
    ("name", "least"),
    [("torchvision/fasterrcnn_mobilenet_v3_large_320_fpn", 40), ("torchvision/raft_small", 40)],
)
def test_detectors_and_optical_flow_are_cut_in_their_sub_networks(name, least):
    model = surgeon.create_model(name).eval()
    cut = surgeon.apply(model, {"op": "kap", "start": "naive", "select": {"groups": "1"}}).eval()
    assert type(cut) is type(model)
    assert len(cut.surgery.edits) >= least
    inputs = (
        (torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128))
        if "raft" in name
        else ([torch.rand(3, 96, 96)],)
    )
    with torch.no_grad():
        for network in (cut, surgeon.revert(cut)):
            assert network(*inputs) is not None
    assert set(model.state_dict()) <= set(cut.state_dict())
    assert [type(m) for m in surgeon.revert(cut).modules()] == [type(m) for m in model.modules()]


def test_a_widened_convolution_inside_a_part_that_branches_on_sizes():
    model = timm.create_model("vgg11", num_classes=3, mlp_ratio=1 / 64).eval()
    operation = {"op": "kap", "stride": 3, "start": "naive", "select": {"include": "pre_logits.*"}}
    cut = surgeon.apply(model, operation, input_size=(3, 32, 32)).eval()
    assert [e.site for e in cut.surgery.edits if e.layer] == ["pre_logits.fc1", "pre_logits.fc2"]
    x = torch.randn(1, 3, 32, 32)
    assert torch.allclose(surgeon.fold(cut)(x), cut(x), atol=1e-5)
