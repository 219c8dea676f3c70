"""What other code does with a network: the same with one that was cut and computes what it did (`tests/neutral.py`)."""

import copy
import pickle
from collections import defaultdict

import pytest
import timm
import torch
from torch import nn
from torch.func import functional_call, grad, jvp, vmap

from tests.interop.conftest import SIZE, _stock
from tests.neutral import NEUTRAL, neutral

pytestmark = pytest.mark.filterwarnings("ignore")
NAMES = tuple(n for n, _ in _stock().named_parameters() if not n.startswith("layer"))
"""Parameters that every cut leaves in their place."""


def loss_of(model, x, y):
    return nn.functional.cross_entropy(model(x), y)


def tensors_of(model):
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    return [own[n] for n in (*NAMES, "bn1.running_mean", "layer2.0.bn1.running_var")]


def gradients(model, x, y):
    x = x.clone().requires_grad_()
    loss_of(model.train(), x, y).backward()
    return [x.grad, *(p.grad for n, p in model.named_parameters() if n in NAMES), *tensors_of(model)]


def a_step(model, x, y):
    optimizer = torch.optim.SGD((p for n, p in model.named_parameters() if n in NAMES), lr=0.1, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        loss_of(model.train(), x, y).backward()
        optimizer.step()
    return [model.eval()(x), *tensors_of(model)]


def heard(model, x, y):
    outputs, gradient = defaultdict(list), defaultdict(list)
    for name in ("conv1.0", "layer2.0.conv1", "fc"):
        layer = model.get_submodule(name)
        layer.register_forward_hook(lambda m, given, out, n=name: outputs[n].append(out.detach().clone()))
        layer.register_full_backward_hook(lambda m, given, out, n=name: gradient[n].append(out[0].clone()))
    loss_of(model, x, y).backward()
    assert all(len(v) == 1 for v in (*outputs.values(), *gradient.values()))
    return [*(outputs[n][0] for n in sorted(outputs)), *(gradient[n][0] for n in sorted(gradient))]


def of_each_sample(model, x, y):
    weights = {n: p.detach() for n, p in model.named_parameters() if n in NAMES}

    def loss(given, image, label):
        return nn.functional.cross_entropy(functional_call(model, given, (image[None],)), label[None])

    return list(vmap(grad(loss), (None, 0, 0))(weights, x, y).values())


def forward_derivative(model, x, y):
    return jvp(model, (x,), (torch.ones_like(x),))


def scaled_for_a_call(model, x, y):
    return [functional_call(model, {n: dict(model.named_parameters())[n] * 2 for n in NAMES}, (x,)), model(x)]


def intermediates(model, x, y):
    last, between = model.forward_intermediates(x)
    return [last, *between, *model.forward_intermediates(x, intermediates_only=True, indices=2)]


def another_head(model, x, y):
    model.reset_classifier(0)
    pooled = model(x)
    model.reset_classifier(7)
    nn.init.ones_(model.fc.weight), nn.init.zeros_(model.fc.bias)
    return [pooled, model(x), model.forward_head(model.forward_features(x))]


def checkpointed(model, x, y):
    model.set_grad_checkpointing(True)
    return gradients(model, x, y)[: -len(tensors_of(model))]  # the stock network notes its statistics twice


def frozen(model, x, y):
    model.layer1 = timm.layers.freeze_batch_norm_2d(model.layer1)
    model.bn1.requires_grad_(False)
    return gradients(model, x, y)[:1]


class Around(nn.Module):
    """A wrapper that adds something of its own, as an adapter does."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.more = nn.Parameter(torch.full((), 0.5))

    def forward(self, x):
        return self.inner(x) * self.more


def adapted(model, x, y):
    model.layer2[0].conv2 = Around(model.layer2[0].conv2)
    model.conv1[0] = Around(model.conv1[0])
    loss_of(model, x, y).backward()
    return [model(x), model.layer2[0].conv2.more.grad, model.conv1[0].more.grad]


def other_activations(model, x, y):
    model.act1, model.layer1[0].act2 = nn.GELU(), nn.Identity()
    return [model(x)]


def averaged(model, x, y):
    average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    with torch.no_grad():
        model.fc.weight.mul_(3)
    average.update_parameters(model)
    torch.optim.swa_utils.update_bn([x, x.flip(3)], average)
    return [average.eval()(x), *tensors_of(average.module)]


def part_in_training(model, x, y):
    model.layer1.train()
    out = model(x)
    return [out, *tensors_of(model), model.eval()(x)]


WAYS = {
    "outputs": lambda m, x, y: [m(x), m(x[:1]), m(x.flip(0)[:3])],
    "features": lambda m, x, y: [
        m.forward_features(x),
        m.forward_head(m.forward_features(x), pre_logits=True),
    ],
    "copies": lambda m, x, y: [copy.deepcopy(m)(x), pickle.loads(pickle.dumps(m))(x), copy.copy(m)(x)],
    "channels last": lambda m, x, y: [m.to(memory_format=torch.channels_last)(x)],
    "traced": lambda m, x, y: [torch.jit.trace(m, x)(x)],
    "exported": lambda m, x, y: [torch.export.export(m, (x,)).module()(x)],
    "thawed": lambda m, x, y: gradients(m.requires_grad_(False).requires_grad_(True), x, y),
    "parts of a batch": lambda m, x, y: [torch.cat([m(part) for part in x.chunk(4)])],
} | {
    f.__name__: f
    for f in (
        gradients,
        a_step,
        heard,
        of_each_sample,
        forward_derivative,
        scaled_for_a_call,
        intermediates,
        another_head,
        checkpointed,
        frozen,
        adapted,
        other_activations,
        averaged,
        part_in_training,
    )
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", NEUTRAL)
def test_a_cut_that_changes_nothing_does_as_the_stock_network(method, way, batch):
    x, y = batch[0].double(), batch[1]
    stock = copy.deepcopy(_stock()).double()
    cut = neutral(stock, method, SIZE)
    wanted, given = WAYS[way](stock, x, y), WAYS[way](cut, x, y)
    assert len(wanted) == len(given)
    for number, (one, other) in enumerate(zip(given, wanted, strict=True)):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11, msg=lambda m, n=number: f"{n}: {m}")
