"""A rewritten network is an instance of the stock network's class, and runs none of its code that knows
nothing of the surgery."""

import abc
import copy
import functools
import multiprocessing
import pickle
from typing import Generic, TypeVar

import pytest
import timm
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError
from surgeon.graph.rewritten.network import Rewritten
from tests.own_models.checks import SIZE, Plain, images

REFUSED = r"runs code from before the surgery and was not run"
T = TypeVar("T")
SMALLER = {
    "vgg11_bn": {"mlp_ratio": 1 / 64},  # its head is a 7×7 convolution with a hundred million weights else
    "resnet18": {"channels": (8, 16, 32, 64)},
    "mobilenetv3_small_050": {},
}


class Registered(type(nn.Module)):
    """A metaclass that keeps a list of its classes."""

    known: list[str] = []

    def __init__(cls, name, bases, space, **kwargs):
        super().__init__(name, bases, space, **kwargs)


class Base(nn.Module):
    subclasses: list[type] = []

    def __init_subclass__(cls, **kwargs):
        Base.subclasses.append(cls)
        super().__init_subclass__(**kwargs)

    def inherited(self, x):
        return self.conv(x)


class Rich(Base, Plain):
    """Everything that a class may have."""

    maker = nn.Conv2d
    partial = functools.partial(dict, a=1)
    LIST = [1, 2]

    def __init__(self):
        Plain.__init__(self)
        self.frozen = False
        self._scale = 2

    @property
    def scale(self):
        return self._scale

    @scale.setter
    def scale(self, value):
        self._scale = value

    @functools.cached_property
    def width(self):
        return self.conv.out_channels

    @staticmethod
    def double(x):
        return 2 * x

    @classmethod
    def build(cls):
        return cls()

    def forward_features(self, x):
        return self.features(x)

    def embed(self, x):
        return self.conv(x)

    def _hidden(self, x):
        return self.conv(x)

    embed_more = functools.partialmethod(embed)

    def train(self, mode=True):
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self):
        self.norm.eval()
        self.frozen = True

    def __len__(self):
        return 7

    def __getitem__(self, key):
        return self.conv

    def __matmul__(self, x):
        return self.conv(x)


@pytest.fixture
def cut():
    return surgeon.apply(Rich(), "kap", input_size=SIZE)


@pytest.mark.parametrize("recipe", ["kap", "anl", "defective"])
@pytest.mark.parametrize("name", SMALLER)
def test_client_code_that_asks_for_the_class_finds_it(name, recipe):
    model = timm.create_model(name, num_classes=3, **SMALLER[name])
    cut = surgeon.apply(model, recipe, input_size=(3, 64, 64))
    kind = type(model)
    assert isinstance(cut, kind) and isinstance(cut, Rewritten) and issubclass(type(cut), kind)
    assert type(cut).__name__ == kind.__name__
    for other in (
        copy.deepcopy(cut),
        copy.copy(cut),
        pickle.loads(pickle.dumps(cut)),
        surgeon.apply(cut, "noise", input_size=(3, 64, 64), stack=True),
    ):
        assert isinstance(other, kind) and isinstance(other, Rewritten)
    for back in (surgeon.revert(cut), surgeon.fold(surgeon.apply(model, "anl", input_size=(3, 64, 64)))):
        assert type(back) is kind and not isinstance(back, Rewritten)
    assert not isinstance(cut, timm.models.ConvNeXt)


def test_the_network_in_a_part_that_is_a_graph_is_of_its_class_too():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Rich()

        def forward(self, x):
            return self.inner(x) if x.sum() > -1e9 else x

    cut = surgeon.apply(Wrapper(), "kap", input_size=SIZE)
    assert type(cut) is Wrapper and isinstance(cut.inner, Rich) and isinstance(cut.inner, Rewritten)
    with pytest.raises(SurgeryError, match=f"Rich.embed {REFUSED}"):
        cut.inner.embed(images())


@pytest.mark.parametrize("name", ["embed", "_hidden", "inherited", "embed_more", "features", "_freeze"])
def test_methods_that_know_nothing_of_the_surgery_are_not_run(cut, name):
    with pytest.raises(SurgeryError, match=f"Rich.{name} {REFUSED}"):
        getattr(cut, name)(images())
    with pytest.raises(SurgeryError, match=REFUSED):
        getattr(type(cut), name)(cut, images())


def test_no_function_of_a_real_network_is_the_stock_ones():
    from surgeon.graph.rewritten.kinship import PASSIVE_METHODS

    for name in ("vgg11_bn", "resnet18", "vit_tiny_patch16_224", "convnext_atto", "efficientnet_b0"):
        model = timm.create_model(name, num_classes=3, **SMALLER.get(name, {}))
        cut = surgeon.apply(model, "noise", input_size=(3, 224, 224) if "vit" in name else (3, 64, 64))
        stock = {
            n: f
            for c in type(model).__mro__
            if c not in (nn.Module, object)
            for n, f in vars(c).items()
            if callable(f) and not isinstance(f, type) and n not in PASSIVE_METHODS
        }
        same = [n for n, f in stock.items() if getattr(type(cut), n, None) is f]
        assert not same


def test_operators_and_iteration_of_the_stock_class_are_refused_and_its_length_is_not(cut):
    assert len(cut) == 7
    for run in (lambda: cut[0], lambda: cut @ images(), lambda: list(cut)):
        with pytest.raises(SurgeryError, match=REFUSED):
            run()


def test_a_sequential_network_cannot_be_taken_apart():
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 3))
    cut = surgeon.apply(model, {"op": "kap", "start": "lstsq"}, input_size=SIZE).eval()
    assert isinstance(cut, nn.Sequential) and len(cut) == 3
    assert not torch.equal(cut(images()), model.eval()(images()))
    for run in (lambda: cut[:2], lambda: cut[0], lambda: list(cut), lambda: cut.insert(0, nn.ReLU())):
        with pytest.raises(SurgeryError, match=REFUSED):
            run()


def test_code_that_goes_through_all_modules_meets_no_layer_at_the_input():
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 3))
    cut = surgeon.apply(model, "noise", input_size=SIZE)
    again = pickle.loads(pickle.dumps(cut))
    assert [str(n.target) for n in again.graph.nodes] == [str(n.target) for n in cut.graph.nodes]


def test_attributes_properties_and_static_methods_are_the_stock_classs(cut):
    assert cut.maker is nn.Conv2d and cut.partial() == {"a": 1} and cut.LIST is Rich.LIST
    assert cut.double(4) == 8 and cut.width == 16 and cut.scale == 2
    cut.scale = 5
    assert cut._scale == 5 and cut.scale == 5
    assert "scale" not in cut.__dict__
    assert surgeon.revert(cut).scale == 5


def test_making_another_network_of_its_class_gives_a_stock_one(cut):
    for other in (cut.build(), type(cut).build(), type(cut)(), cut.__class__()):
        assert type(other) is Rich
        assert other(images()).shape == (2, 5)


def test_a_train_of_its_own_is_run_and_freezes_what_it_freezes(cut):
    assert cut.eval().train() is cut
    assert cut.training and cut.conv.training and not cut.norm.training and cut.frozen
    model = Rich().train()
    assert not model.norm.training


def test_traced_methods_run_with_the_surgery(cut):
    cut.eval()
    stock = surgeon.revert(cut).eval()
    assert not torch.equal(cut.forward_features(images()), stock.forward_features(images()))
    assert torch.allclose(cut.head(cut.forward_features(images()).mean((2, 3))), cut(images()), atol=1e-6)


def test_registries_hear_nothing_of_it():
    before = list(Base.subclasses)
    surgeon.apply(Rich(), "noise", input_size=SIZE)
    assert Base.subclasses == before


class Abstract(Plain, abc.ABC):
    @abc.abstractmethod
    def name(self): ...


class Concrete(Abstract, Generic[T]):
    def name(self):
        return "a name"


class Meta(Plain, metaclass=Registered):
    pass


class Slotted(Plain):
    __slots__ = ("extra",)

    def __init__(self):
        super().__init__()
        self.extra = torch.ones(1)

    def forward(self, x):
        return super().forward(x) * self.extra


class Refuses(Plain):
    """A class that cannot be derived from, as its metaclass says."""


class _Final(type(nn.Module)):
    def __new__(mcs, name, bases, space, **kwargs):
        if any(isinstance(b, _Final) for b in bases):
            raise TypeError("final")
        return super().__new__(mcs, name, bases, space, **kwargs)


class Final(Plain, metaclass=_Final):
    def other(self, x):
        return self.conv(x)


class Delegates(nn.Module):
    """A wrapper that asks the network in it for what it lacks."""

    def __init__(self):
        super().__init__()
        self.net = Rich()

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.net, name)

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize("kind", [Concrete, Meta, Slotted, Delegates])
def test_whatever_the_class_is_like(kind):
    model = kind().eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    assert isinstance(cut, kind)
    assert torch.equal(cut(images()), model(images()))
    for other in (copy.deepcopy(cut), pickle.loads(pickle.dumps(cut))):
        assert isinstance(other, kind) and torch.equal(other.eval()(images()), model(images()))
    back = surgeon.fold(cut).eval()
    assert type(back) is kind and torch.equal(back(images()), model(images()))


def test_a_class_that_cannot_be_derived_from_is_still_cut_and_guarded():
    model = Final().eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    assert not isinstance(cut, Final) and torch.equal(cut(images()), model(images()))
    with pytest.raises(SurgeryError, match=REFUSED):
        cut.other(images())
    assert type(surgeon.fold(cut)) is Final


def test_methods_of_a_network_inside_are_not_reached_through_its_wrapper():
    cut = surgeon.apply(Delegates(), "kap", input_size=SIZE).eval()
    assert cut.scale == 2
    with pytest.raises(SurgeryError, match=f"Delegates.embed {REFUSED}"):
        cut.embed(images())
    with pytest.raises(AttributeError):
        cut.no_such_thing  # noqa: B018


def _run(model, queue):
    with torch.no_grad():
        queue.put((isinstance(model, Rich), model(images()).numpy()))


def test_a_spawned_process_has_the_class_too():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    cut = surgeon.apply(Rich(), "kap", input_size=SIZE).eval()
    process = context.Process(target=_run, args=(cut, queue))
    process.start()
    kin, found = queue.get(timeout=120)
    process.join()
    assert kin and torch.allclose(torch.from_numpy(found), cut(images()))


@pytest.mark.parametrize("kind", [Rich, Slotted])
def test_torch_compile_in_one_graph(kind):
    torch._dynamo.reset()
    cut = surgeon.apply(kind(), "kap", input_size=SIZE).eval()
    with torch.no_grad():
        assert torch.allclose(torch.compile(cut, backend="eager", fullgraph=True)(images()), cut(images()))


def test_classes_go_with_the_networks_that_use_them():
    import gc

    def made():
        class Local(Plain):
            pass

        cut = surgeon.apply(Local(), "noise", input_size=SIZE)
        assert len(Local.__subclasses__()) == 1
        again = surgeon.apply(Local(), "noise", input_size=SIZE)
        assert type(cut).__mro__[1] is type(again).__mro__[1] and type(cut) is not type(again)
        return Local

    local = made()
    gc.collect()
    assert not local.__subclasses__()


def test_a_host_that_writes_the_network_gets_weights_alone(tmp_path):
    def save_pretrained(self, folder):
        raise AssertionError("the stock network's own")

    save_pretrained.__module__ = "transformers.modeling_utils"

    class Hosted(Plain):
        def num_parameters(self):
            return self._count()

        def _count(self):
            return sum(p.numel() for p in self.parameters())

    Hosted.save_pretrained = save_pretrained
    cut = surgeon.apply(Hosted(), "kap", input_size=SIZE)
    assert cut.num_parameters() == sum(p.numel() for p in cut.parameters())
    with pytest.warns(UserWarning, match="weights of a rewritten Hosted alone"):
        cut.save_pretrained(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]
    with pytest.warns(UserWarning, match="weights of a rewritten Hosted alone"):
        cut.save_pretrained(tmp_path / "out")
    (tmp_path / "out" / "config.json").write_text("{}")
    with pytest.raises(SurgeryError, match="has the config.json of a stock network"):
        cut.save_pretrained(tmp_path / "out")
