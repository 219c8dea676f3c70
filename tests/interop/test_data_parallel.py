"""`torch.nn.DataParallel`: torch's own `replicate`, on the CPU. Only its broadcast between devices is replaced, by one
that scales the parameters, so that a replica which ran with the network's own would show."""

import copy
import sys

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

import surgeon
from tests.interop.conftest import SIZE

SCALE = 0.5  # exact, and so are its products
PARALLEL = sys.modules["torch.nn.parallel.replicate"]


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    def sent(tensors, devices, detach=False):
        return [[t.clone() if not t.is_floating_point() else t * SCALE for t in tensors] for _ in devices]

    monkeypatch.setattr(PARALLEL, "_broadcast_coalesced_reshape", sent)
    monkeypatch.setattr(PARALLEL, "_get_device_index", lambda device, *_: device)


@pytest.fixture(scope="module")
def vit():
    """Parameters at the root: the class token and the places' embedding."""
    torch.manual_seed(0)
    return timm.create_model("test_vit", num_classes=4, img_size=32).eval()


def scaled(network):
    """A copy as a replica is: parameters and floating-point buffers times SCALE."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(SCALE)
    return network


def outcome(run, of, images):
    """The output of a network, and the gradients of the parameters of `of`."""
    torch.manual_seed(1)
    of.zero_grad()
    output = run(images)
    F.cross_entropy(output, torch.arange(len(images)) % 4).backward()
    return output.detach(), {n: p.grad for n, p in of.named_parameters() if p.grad is not None}


def demand_like_a_copy(network, images):
    """Both replicas compute what a copy with their weights does, and hand gradients to the network's parameters."""
    expected, gradients = outcome(scaled_network := scaled(network), scaled_network, images)
    for replica in PARALLEL.replicate(network, [0, 1]):
        found, given = outcome(replica, network, images)
        assert torch.equal(found, expected)
        assert given.keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(given[name], gradient * SCALE, msg=name)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("recipe", ["noise", "kap", "defective", "kwta", "input-noise"])
def test_replicas_of_a_network_with_parameters_at_its_root(vit, recipe, training, batch):
    cut = surgeon.apply(vit, recipe, input_size=SIZE, seed=1).train(training)
    demand_like_a_copy(cut, batch[0])


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_replicas_of_a_network_without(model, training, batch):
    demand_like_a_copy(model.train(training), batch[0])


class Holder(nn.Module):
    """A rewritten network as a part, of which a method is called that has no graph yet."""

    def __init__(self, body):
        super().__init__()
        self.body = body
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, images):
        features = self.body.forward_features(images)
        return self.body.forward_head(features) * self.scale + self.body(images)


def test_replicas_of_a_module_around_it(vit, batch):
    cut = surgeon.apply(vit, "noise", input_size=SIZE, seed=1).eval()
    before = cut.code
    holder = Holder(cut)
    demand_like_a_copy(holder, batch[0])
    assert cut.code == before and all(g.owning_module is cut for g in cut.graphs)
    assert torch.equal(holder(batch[0]), Holder(cut)(batch[0]))


def test_replicas_make_graphs_for_other_sizes_and_leave_the_network_as_it_was(batch):
    torch.manual_seed(0)
    stock = timm.create_model("test_vit", num_classes=4, img_size=32, dynamic_img_size=True).eval()
    cut = surgeon.apply(stock, "noise", input_size=SIZE, seed=1).eval()
    demand_like_a_copy(cut, batch[0][:, :, :16, :16])
    names = {n for n, _ in cut.named_buffers()}
    cut(batch[0][:, :, :16, :16])
    demand_like_a_copy(cut, batch[0][:, :, :16, :16])
    assert {n for n, _ in cut.named_buffers()} >= names


def test_a_replica_goes_on_when_the_network_is_changed(vit, batch):
    cut = surgeon.apply(vit, "noise", input_size=SIZE, seed=1).eval()
    replica = PARALLEL.replicate(cut, [0])[0]
    before = replica(batch[0])
    cut.reset_classifier(7)
    assert cut(batch[0]).shape == (8, 7)
    assert torch.equal(replica(batch[0]), before)
