"""A plan and a cut leave the caller's network as it is, whatever a copy of it has in common with it."""

import copy
import functools
import weakref

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError
from surgeon.graph.beyond import _Reached

SIZE = (3, 16, 16)


def images():
    return torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(1))


def conv(channels=16):
    return nn.Conv2d(channels, 16, 3, padding=1)


def part():
    return nn.Sequential(conv(3), nn.BatchNorm2d(16))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = conv(3), nn.BatchNorm2d(16)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Itself(Encoder):
    def __deepcopy__(self, memo):
        return self


class SharesAll(Encoder):
    """Another object on the same children."""

    def __deepcopy__(self, memo):
        return copy.copy(self)


class SharesWeight(Encoder):
    def __deepcopy__(self, memo):
        new = SharesWeight()
        new.load_state_dict(self.state_dict())
        new.conv.weight = self.conv.weight
        return new.train(self.training)


class SharesMemory(Encoder):
    def __deepcopy__(self, memo):
        new = SharesMemory()
        new.load_state_dict(self.state_dict())
        new.bn.running_mean = self.bn.running_mean[:]
        return new.train(self.training)


class KeepsOneChild(Encoder):
    def __deepcopy__(self, memo):
        new = KeepsOneChild()
        new.load_state_dict(self.state_dict())
        new.bn = self.bn
        return new.train(self.training)


class OneObject(Encoder):
    made = None

    def __new__(cls, *args, **kwargs):
        if cls.made is None:
            cls.made = super().__new__(cls)
        return cls.made


class ByReduce(Encoder):
    def __reduce__(self):
        return (lambda: self), ()


class Held(nn.Parameter):
    def __deepcopy__(self, memo):
        return self


class OfHeld(Encoder):
    def __init__(self):
        super().__init__()
        self.conv.bias = Held(torch.zeros(16))


SHARING = {
    Itself: "enc:",
    SharesAll: "enc.conv:",
    SharesWeight: "enc.conv:",
    SharesMemory: "enc.bn:",
    KeepsOneChild: "enc.bn:",
    OneObject: "enc:",
    ByReduce: "enc:",
    OfHeld: "enc.conv:",
}


class Net(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.enc, self.conv, self.fc = encoder, conv(), nn.Linear(16, 4)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(self.enc(x))).mean((2, 3)))


def noted(*networks):
    """All that a network has, as data."""
    return [
        (
            {k: v.clone() for k, v in n.state_dict().items()},
            {k: None if p.grad is None else p.grad.clone() for k, p in n.named_parameters()},
            [(k, m.training, type(m), len(m._forward_pre_hooks)) for k, m in n.named_modules()],
        )
        for n in networks
    ]


def same(before, *networks):
    for (tensors, grads, modules), (now, grads_now, modules_now) in zip(
        before, noted(*networks), strict=True
    ):
        assert modules == modules_now
        assert tensors.keys() == now.keys()
        assert [k for k in tensors if not torch.equal(tensors[k], now[k])] == []
        assert grads.keys() == grads_now.keys()
        assert [k for k, g in grads.items() if (g is None) != (grads_now[k] is None)] == []


@pytest.mark.parametrize(
    "work",
    [
        surgeon.sites,
        *(
            functools.partial(do, recipe=recipe)
            for do in (surgeon.plan, surgeon.apply)
            for recipe in ("noise", "kap", "anl")
        ),
    ],
)
@pytest.mark.parametrize("kind", SHARING)
@pytest.mark.parametrize("training", [False, True])
def test_a_module_that_its_copy_shares_is_refused_and_left_alone(kind, work, training):
    OneObject.made = None
    torch.manual_seed(0)
    net = Net(kind()).train(training)
    before, gave = noted(net), net.eval()(images())
    net.train(training)
    with pytest.raises(SurgeryError, match=f"^{SHARING[kind]} a copy of this .* would change the network"):
        work(net, input_size=SIZE)
    same(before, net)
    assert torch.equal(net.eval()(images()), gave)


@pytest.mark.parametrize("kind", [Itself, SharesWeight, OneObject])
def test_a_network_that_its_copy_shares_is_refused(kind):
    OneObject.made = None

    class Root(kind):
        def forward(self, x):
            return super().forward(x).mean((2, 3))

    net = Root().eval()
    before = noted(net)
    with pytest.raises(SurgeryError, match=r"^(the network|conv): a copy of this"):
        surgeon.plan(net, "noise", input_size=SIZE)
    same(before, net)


class FrozenCopied(Encoder):
    def __deepcopy__(self, memo):
        new = object.__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new


class MadeByArguments(Encoder):
    """`__new__` alone says nothing of copies."""

    def __new__(cls, width):
        return super().__new__(cls)

    def __init__(self, width):
        super().__init__()


class Tied(Encoder):
    def __init__(self):
        super().__init__()
        self.again = conv(3)
        self.again.weight = self.conv.weight
        self.same = self.bn
        self.cache = None

    def forward(self, x):
        return super().forward(x) + self.same(self.again(x))


def leftover():
    """An activation of the last pass, with its history."""
    made = FrozenCopied()
    made.last = made.conv(images())
    return made


@pytest.mark.parametrize(
    "make",
    [FrozenCopied, lambda: FrozenCopied().requires_grad_(False), lambda: MadeByArguments(3), Tied, leftover],
)
def test_a_module_that_is_copied_is_cut(make):
    net = Net(make()).eval()
    before = noted(net)
    cut = surgeon.apply(net, "noise", input_size=SIZE)
    same(before, net)
    torch.testing.assert_close(surgeon.revert(cut)(images()), net(images()))


# -- what is reached beyond a copy --------------------------------------------------------------------


class Holder:
    def __init__(self, inner):
        self.inner, self.calls = inner, 0

    def __call__(self, x):
        self.calls += 1
        return self.inner(x)

    def __deepcopy__(self, memo):
        return self


class Slotted:
    __slots__ = ("inner",)

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, x):
        return self.inner(x)

    def __deepcopy__(self, memo):
        return self


class Block(nn.Module):
    def __init__(self, beside):
        super().__init__()
        self.beside, self.conv = beside, conv(3)

    def forward(self, x):
        return self.conv(x) + self.beside(x)


class OfClass(nn.Module):
    teacher = None

    def __init__(self):
        super().__init__()
        self.conv = conv(3)

    def forward(self, x):
        return self.conv(x) + self.teacher[0](x)


class ByName(OfClass):
    def forward(self, x):
        return self.conv(x) + TEACHER(x)


class ByWeakReference(OfClass):
    def __init__(self, teacher):
        super().__init__()
        self.reference = weakref.ref(teacher)

    def forward(self, x):
        return self.conv(x) + self.reference()(x)


TEACHER = part()


def of_class(teacher):
    OfClass.teacher = [teacher]
    return OfClass()


WAYS = {
    "holder": lambda t: Block(Holder(t)),
    "slots": lambda t: Block(Slotted(t)),
    "closure": lambda t: Block(lambda x: t(x)),
    "default": lambda t: Block(lambda x, t=t: t(x)),
    "partial": lambda t: Block(functools.partial(lambda inner, x: inner(x), Holder(t))),
    "dict": lambda t: Block({"f": lambda x: t(x)}.get("f")),
    "class": of_class,
    "global": lambda t: ByName(),
    "weak": ByWeakReference,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("training", [True, False])
def test_a_part_beyond_the_copy_is_as_it_was(way, training):
    torch.manual_seed(0)
    teacher = TEACHER if way == "global" else part()
    teacher.train(training)
    net = Net(WAYS[way](teacher)).eval()
    before = noted(net, teacher)
    assert surgeon.sites(net, input_size=SIZE)
    same(before, net, teacher)
    made = surgeon.plan(net, "noise", input_size=SIZE)
    same(before, net, teacher)
    surgeon.apply(net, made)
    surgeon.apply(net, "noise", input_size=SIZE, calibration=torch.randn(16, *SIZE))
    same(before, net, teacher)


def test_what_an_object_counts_is_as_it_was():
    holder = Holder(part())
    net = Net(Block(holder)).eval()
    surgeon.plan(net, "noise", input_size=SIZE)
    assert holder.calls == 0


class Around(nn.Module):
    """Its function closes over the network itself, whose norm is in training mode."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.inner, self.fc = conv(3), nn.BatchNorm2d(16), conv(), nn.Linear(16, 4)
        self.act = lambda x: torch.relu(self.bn(x))

    def forward(self, x):
        return self.fc(self.act(self.inner(self.conv(x))).mean((2, 3)))


class Weak(nn.Module):
    def __init__(self, parent):
        super().__init__()
        self.inner, self.parent = conv(), weakref.ref(parent)

    def forward(self, x):
        return self.inner(x) * self.parent().gain


class WeakParent(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))
        self.stem, self.block, self.fc = conv(3), Weak(self), nn.Linear(16, 4)

    def forward(self, x):
        return self.fc(self.block(self.stem(x)).mean((2, 3)))


@pytest.mark.parametrize("kind", [Around, WeakParent])
def test_a_network_that_its_own_code_reaches_is_as_it_was(kind):
    net = kind().train()
    before = noted(net)
    with pytest.raises(SurgeryError):
        surgeon.apply(net, "noise", input_size=SIZE)
    same(before, net)


def test_a_plain_network_reaches_nothing():
    reached = _Reached(surgeon.create_model("zoo/cifar_resnet20"))
    assert not (reached.modules or reached.tensors or reached.held or reached.cells)


# -- slots --------------------------------------------------------------------------------------------


class WithSlots(nn.Module):
    __slots__ = ("gain",)

    def __init__(self):
        super().__init__()
        self.conv, self.gain = conv(3), 3.0

    def forward(self, x):
        return self.conv(x).mean((2, 3)) * self.gain


class AroundSlots(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([WithSlots()])

    def forward(self, x):
        return self.blocks[0](x)


@pytest.mark.parametrize("undo", [surgeon.fold, surgeon.revert, copy.deepcopy])
@pytest.mark.parametrize("kind", [WithSlots, AroundSlots])
def test_blocks_keep_their_slots(undo, kind):
    net = kind().eval()
    cut = surgeon.apply(net, "noise", input_size=SIZE)
    back = undo(cut)
    assert (back if kind is WithSlots else back.blocks[0]).gain == 3.0
    torch.testing.assert_close(back(images()), cut(images()))


# -- words --------------------------------------------------------------------------------------------


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.conv, self.fc = conv(3), conv(), nn.Linear(16, 4)

    def forward(self, x):
        return self.fc(self.conv(self.stem(x)).mean((2, 3)))


class Cached(Plain):
    @functools.lru_cache(None)  # noqa: B019
    def scales(self, count):
        return torch.arange(float(count))[None, :, None, None] * self.fc.bias.sum()

    def forward(self, x):
        return self.fc((self.conv(self.stem(x)) + self.scales(16)).mean((2, 3)))


class Tries(Plain):
    def scaled(self, x):
        try:
            largest = float(x.max())
        except Exception:
            largest = 1.0
        return x / (largest + 1e-6)

    def forward(self, x):
        return super().forward(self.scaled(x))


class Counts(Plain):
    def forward(self, x, seen=[]):  # noqa: B006
        seen.append(1)
        return super().forward(x) * len(seen)


@pytest.mark.parametrize(
    "kind, words",
    [
        (WeakParent, "its attribute block.parent is a weak reference"),
        (Cached, "Cached.scales is behind functools.lru_cache"),
        (Tries, r"Tries.scaled makes a number of a tensor inside of try \(test_copies_apart.py:\d+\)"),
        (Counts, "the default of seen in Counts.forward is one list for all calls"),
    ],
)
def test_a_refusal_names_what_is_known_to_differ(kind, words):
    with pytest.raises(SurgeryError, match=words):
        surgeon.plan(kind().eval(), "noise", input_size=SIZE)


def test_a_default_that_grows_is_as_it_was():
    with pytest.raises(SurgeryError):
        surgeon.plan(Counts().eval(), "noise", input_size=SIZE)
    assert Counts.forward.__defaults__ == ([],)


def test_a_lightning_module_says_what_works():
    lightning = pytest.importorskip("lightning")

    class Module(Plain, lightning.LightningModule):
        def training_step(self, batch, number):
            return self(batch).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    cut = surgeon.apply(Module(), "noise", input_size=SIZE)
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(
        SurgeryError, match=r"cut the network inside of one, module.net = surgeon.apply\(module.net"
    ):
        trainer.fit(cut, torch.utils.data.DataLoader(torch.zeros(2, *SIZE)))


def test_a_network_of_the_hub_says_what_keeps_the_surgery(tmp_path):
    hub = pytest.importorskip("huggingface_hub")

    class Network(Plain, hub.PyTorchModelHubMixin):
        pass

    cut = surgeon.apply(Network().eval(), "noise", input_size=SIZE)
    with pytest.raises(SurgeryError, match=r"surgeon.save\(model, folder\) keeps the surgery"):
        cut.save_pretrained(tmp_path)
    surgeon.fold(cut).save_pretrained(tmp_path)
    back = Network.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(back(images()), cut(images()))
