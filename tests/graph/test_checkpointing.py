"""Gradient checkpointing of a graph: the same training, less of it kept."""

import copy

import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import surgeon
from surgeon.errors import SurgeonError
from surgeon.training import adversarial_noise

SIZE = (3, 32, 32)
X, Y = torch.randn(8, *SIZE, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4


def step(model, run=None):
    """Gradients and state after a step's backward pass, and how many bytes the forward pass saved for it."""
    torch.manual_seed(5)
    seen = {}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes() if storage.data_ptr() not in own else 0
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = cross_entropy((model if run is None else run)(X), Y)
    saved = sum(seen.values())
    loss.backward()
    grads = torch.cat([p.grad.flatten() for p in model.parameters()])
    return grads, {k: v.clone() for k, v in model.state_dict().items()}, saved


def same(one, other):
    return torch.equal(one[0], other[0]) and all(torch.equal(v, other[1][k]) for k, v in one[1].items())


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("test_resnet", "kap"),
        ("test_vit", "defective"),
        ("test_efficientnet", "defective"),
        ("test_convnext", "kap"),
        ("test_nfnet", "noise"),
    ],
)
def test_switched_on_after_the_cut_or_before_it(name, recipe):
    settings = {"img_size": 32, "patch_size": 8} if name == "test_vit" else {}
    stock = timm.create_model(name, num_classes=4, **settings)
    plain = surgeon.apply(stock, recipe, input_size=SIZE, seed=1).train()
    after = copy.deepcopy(plain)
    after.set_grad_checkpointing(True)
    stock.set_grad_checkpointing(True)
    before = surgeon.apply(stock, recipe, input_size=SIZE, seed=1).train()
    wanted, first, second = step(plain), step(after), step(before)
    assert same(first, wanted) and same(second, wanted)
    assert first[2] < 0.4 * wanted[2] and second[2] == first[2]
    after.set_grad_checkpointing(False)
    assert step(after)[2] == wanted[2]


def test_copies_and_files_and_folded_networks(tmp_path):
    stock = timm.create_model("test_resnet", num_classes=4)
    model = surgeon.apply(stock, "kap", input_size=SIZE)
    model.set_grad_checkpointing()
    torch.save(model, tmp_path / "model.pt")
    plain = step(surgeon.apply(stock, "kap", input_size=SIZE).train())[2]
    assert step(copy.deepcopy(model).train())[2] < 0.4 * plain
    assert step(torch.load(tmp_path / "model.pt", weights_only=False).train())[2] < 0.4 * plain
    assert surgeon.fold(model).grad_checkpointing is True


def test_noise_of_a_stream_of_its_own_is_drawn_again(tmp_path):
    model = surgeon.apply(timm.create_model("test_resnet", num_classes=4), "kap", input_size=SIZE).train()
    twin = copy.deepcopy(model)
    twin.set_grad_checkpointing()
    for network in (model, twin):
        stream = torch.Generator().manual_seed(3)
        for module in network.modules():
            if hasattr(module, "stream"):
                module.stream = stream
    assert same(step(twin), step(model))
    states = [next(m.stream for m in n.modules() if hasattr(m, "stream")).get_state() for n in (model, twin)]
    assert torch.equal(*states)


class InPlace(nn.Module):
    """Every value is overwritten by what comes next, in all ways that torch has."""

    def __init__(self):
        super().__init__()
        self.grad_checkpointing = False
        self.convs = nn.ModuleList(nn.Conv2d(3 if i == 0 else 16, 16, 3, padding=1) for i in range(12))
        self.act, self.same = nn.SiLU(inplace=True), nn.Identity()

    def set_grad_checkpointing(self, enable=True):
        self.grad_checkpointing = enable

    def forward(self, x):
        for i, conv in enumerate(self.convs):
            x = self.same(conv(x))
            if i % 4 == 0:
                x = self.act(x)
            elif i % 4 == 1:
                x += x.mean()
            elif i % 4 == 2:
                x = x.flatten(2).mul_(1.5).view(x.shape)
            else:
                x = nn.functional.elu(x, inplace=True)
        return x.mean((2, 3))[:, :4]


def test_no_segment_overwrites_what_it_was_given():
    plain = surgeon.apply(InPlace(), "kap", input_size=SIZE, seed=1).train()
    model = copy.deepcopy(plain)
    model.set_grad_checkpointing()
    one, other = step(plain), step(model)
    assert same(one, other) and other[2] < one[2]


def test_under_torch_compile_it_runs_as_it_is():
    model = surgeon.apply(
        timm.create_model("test_resnet", num_classes=4), "defective", input_size=SIZE
    ).train()
    model.set_grad_checkpointing()
    twin = copy.deepcopy(model)
    torch._dynamo.reset()
    found = step(model, torch.compile(model, backend="eager"))
    assert torch.allclose(found[0], step(twin)[0], atol=1e-5)


def test_anl_says_that_its_first_round_cannot_be_computed_again():
    model = surgeon.apply(timm.create_model("test_resnet", num_classes=4), "anl", input_size=SIZE).train()
    model.set_grad_checkpointing()
    with pytest.raises(SurgeonError, match="called twice in one recording"):
        with adversarial_noise(model, X, Y, cross_entropy):
            cross_entropy(model(X), Y).backward()
