"""Whatever state of torch a caller is in, every public function gives what it gives in the plain one, and
leaves the state alone."""

import copy
import dataclasses
import pkgutil

import pytest
import torch
from pydantic import BaseModel
from torch import nn

import surgeon
from surgeon.data import Images
from surgeon.errors import SurgeonError
from surgeon.recipe import Training
from tests.host import callers, doors, states


def test_every_public_function_is_walked_or_has_a_reason():
    found = doors.public()
    assert len(found) > 60
    assert found == {n for n in doors.CALLS if n in found} | set(callers.CALLERS)
    every = {m.name for m in pkgutil.iter_modules(surgeon.__path__)}
    assert every <= {n.split(".")[1] for n in doors.WALKED if "." in n} | set(doors.PLAIN)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 5),
    )
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(16, *doors.SIZE))
    return doors.Made(model.eval(), tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def plain(made, tmp_path_factory):
    """What each call gives in the plain state, made when it is first asked for."""
    known = {}

    def ask(name):
        if name not in known:
            world = filled(doors.World(made, tmp_path_factory.mktemp("plain")))
            torch.manual_seed(5)
            known[name] = told(doors.CALLS[name](world))
        return known[name]

    return ask


def states_of(name):
    return states.FOR_TRAINING if name in doors.TRAINS else states.STATES


PAIRS = [
    pytest.param(n, s, id=f"{n.removeprefix('surgeon.')}-{s}")
    for n in doors.CALLS
    for s in (states_of(n) if n in doors.ONE_BY_ONE else states.TOGETHER)
]


@pytest.mark.parametrize("name, state", PAIRS)
def test_a_state_of_the_callers_changes_nothing(name, state, plain, made, tmp_path):
    for package in doors.NEEDS.get(name, ()):
        pytest.importorskip(package)
    world = filled(doors.World(made, tmp_path))
    expected = plain(name)
    torch.manual_seed(5)
    with states_of(name)[state]():
        before = states.asked()
        found = doors.CALLS[name](world)
        after = states.asked()
    assert {k for k in before if before[k] != after[k]} == set()
    assert told(found) == expected


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in doors.CALLS
        if not n.startswith(
            (
                "surgeon.pipeline.",
                "surgeon.evaluation.Normalized",
                "surgeon.models.checkpoints.load",
                "export onnx",
            )
        )
    ],
)
def test_networks_and_images_made_in_inference_mode_are_taken(name, plain, made, tmp_path):
    """What is made in inference mode takes part in no gradient, outside of it too; only a training refuses it."""
    for package in doors.NEEDS.get(name, ()):
        pytest.importorskip(package)
    expected = plain(name)
    with torch.inference_mode():
        world = filled(doors.World(made, tmp_path))
        world.x, world.y = world.x.clone(), world.y.clone()
        for tensor in (*world.stock.parameters(), *world.stock.buffers()):
            assert tensor.is_inference()
    torch.manual_seed(5)
    assert told(doors.CALLS[name](world)) == expected


def test_a_training_refuses_a_network_that_was_made_in_inference_mode(made, tmp_path):
    pytest.importorskip("accelerate")
    from surgeon.training import fit

    with torch.inference_mode():
        world = filled(doors.World(made, tmp_path))
    with pytest.raises(
        SurgeonError, match=r"Sequential was made in torch.inference_mode, .*; give copy.deepcopy"
    ):
        fit(world.stock, Images(world.x, world.y), None, Training(epochs=1), progress=False)
    with pytest.raises(SurgeonError, match="give copy.deepcopy"):
        surgeon.load_weights(world.stock, world.weights)
    fit(copy.deepcopy(world.stock), Images(world.x, world.y), None, Training(epochs=1), progress=False)


def test_a_training_has_its_own_precision_whatever_its_callers(made):
    """A caller's autocast, be it switched off, keeps casts of weights until it ends: none may reach the next step."""
    pytest.importorskip("accelerate")
    from surgeon.training import fit

    x = torch.rand(32, *doors.SIZE, generator=torch.Generator().manual_seed(1))
    settings = Training(epochs=2, batch_size=8, lr=0.01, optimizer="sgd")

    def trained(precision):
        network = copy.deepcopy(made.trained)
        fit(
            network,
            Images(x, torch.arange(32) % 5),
            None,
            settings,
            progress=False,
            mixed_precision=precision,
        )
        return network[0].weight

    half, full = trained("bf16"), trained("no")
    assert not torch.equal(half, full)
    for enabled in (True, False):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            assert torch.equal(trained("bf16"), half) and torch.equal(trained("no"), full)


def test_networks_and_images_of_fake_tensors_are_told_as_what_they_are(made, tmp_path):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        fake = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU())
        images = torch.rand(16, *doors.SIZE)
        with pytest.raises(
            SurgeonError, match=r"0.weight is a fake tensor, without values; a plan can be made"
        ):
            surgeon.apply(fake, "kap", input_size=doors.SIZE)
        assert surgeon.plan(fake, "kap", input_size=doors.SIZE).edits
        with pytest.raises(SurgeonError, match="are on the meta device, or fake, without values"):
            surgeon.apply(made.trained, "kap", input_size=doors.SIZE, calibration=images)
        with pytest.raises(SurgeonError, match="is without values"):
            surgeon.save(fake, tmp_path / "f")


def test_a_callers_state_comes_back_after_an_error(made):
    with states.STATES["all, inference_mode"]():
        before = states.asked()
        with pytest.raises(SurgeonError):
            surgeon.apply(made.trained, "kap", input_size=(3, 8))
        assert states.asked() == before


def filled(world):
    """The world, with all of it made in the present state."""
    for name in ("stock", "cut", "saved", "x", "subject", "y", "weights"):
        getattr(world, name)
    return world


def told(value):
    """A result as data that can be compared: of a network its tensors, its record, and what it learns from a step."""
    if isinstance(value, torch.Tensor):
        assert not value.is_meta
        return (str(value.dtype), str(value.device), value.tolist())
    if isinstance(value, nn.Module):
        record = value.__dict__.get("surgery")
        return (
            type(value).__name__,
            told(dict(value.state_dict())),
            told(record) if record else None,
            [(n, m.training) for n, m in value.named_modules()],
            [t.is_inference() for t in (*value.parameters(), *value.buffers())],
            learned(value),
        )
    if isinstance(value, BaseModel):
        return told(value.model_dump(exclude={"seconds", "queries"}))
    if dataclasses.is_dataclass(value):
        return told(vars(value))
    if isinstance(value, dict):
        return {k: told(v) for k, v in value.items() if k not in ("seconds",)}
    if isinstance(value, (list, tuple)):
        return [told(v) for v in value]
    return value


def learned(network):
    """The gradients of one step."""
    network.zero_grad()
    size = (1, 8, 8) if next(network.parameters()).shape[1] == 1 else doors.SIZE
    x = torch.rand(4, *size, generator=torch.Generator().manual_seed(7))
    training = network.training
    network.eval()
    output = network(x)
    output.square().mean().backward()
    network.train(training)
    return [None if p.grad is None else p.grad.tolist() for p in network.parameters()]
