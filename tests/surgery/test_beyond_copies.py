"""A plan and a cut leave alone what a network reaches beyond its copy, and refusals name it."""

import functools
import weakref

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError
from surgeon.graph.comparing.beyond import _Reached
from tests.surgery.copies import SIZE, Net, conv, images, noted, same


def part():
    return nn.Sequential(conv(3), nn.BatchNorm2d(16))


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
        (Tries, r"Tries.scaled makes a number of a tensor inside of try \(test_beyond_copies.py:\d+\)"),
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
