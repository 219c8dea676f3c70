"""Networks whose code does what no trace sees; `KINDS` has them all, by what they do."""

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import nn

SIZE = (3, 12, 12)


class Block(nn.Module):
    def __init__(self, fan_in=8):
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(fan_in, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class Base(nn.Module):
    """Two blocks that can be cut whatever the code around them does."""

    def __init__(self):
        super().__init__()
        self.b1, self.b2, self.fc, self.drop = Block(3), Block(), nn.Linear(8, 5), nn.Dropout(0.5)
        self.register_buffer("mean", torch.zeros(8))
        self.count = 0

    def features(self, x):
        return self.b2(self.b1(x))

    def head(self, x):
        return self.fc(x.mean((2, 3)))

    def forward(self, x):
        return self.head(self.features(x))


KINDS = {}


def kind(forward):
    KINDS[forward.__name__] = type(forward.__name__, (Base,), {"forward": forward})
    return forward


# -- writes into tensors that the code made, and into buffers


@kind
def adds_into_what_it_made(self, x):
    h = self.features(x)
    total = torch.zeros(8)
    total.add_(h.mean((0, 2, 3)))
    return self.head(h) + total.sum()


@kind
def sets_items_of_what_it_made(self, x):
    h = self.features(x)
    out = torch.zeros(2, 8)
    out[0] = h.mean((0, 2, 3))
    out[1] = out[1] + h.amax((0, 2, 3))
    return self.head(h) + out.sum()


@kind
def adds_to_what_it_made(self, x):
    h = self.features(x)
    total = torch.zeros(8, 1, 1)
    total += h.mean((0, 2, 3))[:, None, None]
    return self.head(h + total)


@kind
def copies_into_a_buffer(self, x):
    h = self.features(x)
    self.mean.copy_(h.detach().mean((0, 2, 3)))
    return self.head(h - self.mean[:, None, None])


@kind
def averages_into_a_buffer(self, x):
    h = self.features(x)
    if self.training:
        self.mean.lerp_(h.detach().mean((0, 2, 3)), 0.1)
    return self.head(h - self.mean[:, None, None])


@kind
def sets_an_item_of_a_buffer(self, x):
    h = self.features(x)
    self.mean[0] = h.detach().mean()
    return self.head(h - self.mean[:, None, None])


@kind
def sets_the_data_of_a_buffer(self, x):
    h = self.features(x)
    self.mean.data = 0.9 * self.mean + 0.1 * h.detach().mean((0, 2, 3))
    return self.head(h - self.mean[:, None, None])


# -- questions that a proxy answers otherwise than a tensor


@kind
def asks_whether_it_is_a_tensor(self, x):
    return self.head(self.features(x * 2 if isinstance(x, torch.Tensor) else x))


@kind
def asks_torch_whether_it_is_a_tensor(self, x):
    return self.head(self.features(x * 2 if torch.is_tensor(x) else x))


@kind
def asks_for_its_type(self, x):
    return self.head(self.features(x * 2 if type(x) is torch.Tensor else x))


@kind
def asks_for_its_precision(self, x):
    return self.head(self.features(x * 2 if x.dtype is torch.float32 else x))


@kind
def asks_whether_a_side_is_a_number(self, x):
    return self.head(self.features(x * 2 if isinstance(x.shape[-1], int) else x))


# -- how many images there are


@kind
def decides_by_the_batch(self, x):
    return self.head(self.features(x * 2 if x.shape[0] == 2 else x))


@kind
def groups_the_batch(self, x):
    h = self.features(x)
    group = min(4, h.size(0))
    return self.head(h) + h[: h.size(0) // group * group].reshape(group, -1, 8, 12, 12).std(0).mean()


# -- what code sets on modules round a call of theirs


@kind
def strides_for_a_while(self, x):
    before, self.b1.conv.stride = self.b1.conv.stride, (2, 2)
    h = self.b1(x)
    self.b1.conv.stride = before
    return self.head(self.b2(h))


@kind
def freezes_a_norm(self, x):
    before = self.b1.bn.training
    self.b1.bn.eval()
    h = self.b1(x)
    self.b1.bn.train(before)
    return self.head(self.b2(h))


@kind
def drops_at_every_call(self, x):
    self.drop.train()
    return self.head(self.drop(self.features(x)))


@kind
def hooks_for_a_while(self, x):
    handle = self.b1.conv.register_forward_hook(lambda module, given, result: result * 2)
    h = self.features(x)
    handle.remove()
    return self.head(h)


@kind
def hooks_a_block_for_a_while(self, x):
    handle = self.b1.register_forward_hook(lambda module, given, result: result * 2)
    h = self.features(x)
    handle.remove()
    return self.head(h)


@kind
def calls_with_other_weights(self, x):
    weights = {k: v * 1.1 for k, v in self.b1.named_parameters()}
    return self.head(self.b2(torch.func.functional_call(self.b1, weights, (x,))))


@kind
def counts_its_calls(self, x):
    self.count += 1
    return self.head(self.features(x))


# -- streams, contexts, checkpoints


@kind
def seeds(self, x):
    torch.manual_seed(3)
    return self.head(self.features(x + torch.randn_like(x)))


@kind
def forks_the_stream(self, x):
    with torch.random.fork_rng():
        x = x + torch.randn_like(x)
    return self.head(self.features(x))


@kind
def puts_the_stream_back(self, x):
    state = torch.get_rng_state()
    x = x + torch.randn_like(x)
    torch.set_rng_state(state)
    return self.head(self.features(x))


class Doubling(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        return result * 2 if function is F.relu else result


@kind
def computes_in_a_function_mode(self, x):
    with Doubling():
        h = self.features(x)
    return self.head(h)


@kind
def packs_what_is_saved(self, x):
    h = self.features(x)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: t * 2 if t.is_floating_point() else t, lambda t: t
    ):
        h = h * h
    return self.head(h)


@kind
def checkpoints_a_function(self, x):
    return self.head(
        torch.utils.checkpoint.checkpoint(lambda z: self.drop(self.features(z)), x, use_reentrant=False)
    )
