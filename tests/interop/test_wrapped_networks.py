"""Networks in what torch and timm put around them, and in modules of other code: they keep their normalisation."""

import re
import warnings

import pytest
import timm
import torch
from timm.utils import ModelEmaV2, ModelEmaV3
from torch import nn

import surgeon
from surgeon.data import Images
from surgeon.errors import ArgumentError, ArtifactWarning, CalibrationWarning, SurgeryError
from surgeon.evaluation import assess, evaluated
from surgeon.models.facts import input_size_of, name_of
from surgeon.models.pixels import normalized
from surgeon.models.preparation import resized_otherwise, resizing_of, trained_on_stretched
from surgeon.recipe import Evaluation, Training
from surgeon.store.exporting import metadata
from surgeon.training import fit
from surgeon.wrappers import place_inside, unwrapped

MEAN, STD = (0.2, 0.4, 0.6), (0.25, 0.5, 0.125)
SETTINGS = Evaluation(suite="basic", attacks=["fgsm"], diagnostics=0)
WRAPPERS = {
    "compiled": torch.compile,
    "data parallel": nn.DataParallel,
    "average": torch.optim.swa_utils.AveragedModel,
    "timm's average": ModelEmaV2,
    "timm's third average": ModelEmaV3,
    "compiled twice around": lambda network: torch.compile(nn.DataParallel(network)),
}


class Handing(nn.Module):
    """Hands images on as they are, or normalised."""

    def __init__(self, network, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x):
        return self.network((x - self.mean) / self.std)


@pytest.fixture
def network():
    network = surgeon.create_model("zoo/shallow2").eval()
    surgeon.models.set_normalization(network, MEAN, STD)
    return network


@pytest.fixture
def images():
    x = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return x, torch.arange(12) % 10


@pytest.fixture(params=WRAPPERS)
def wrapped(request, network):
    return WRAPPERS[request.param](network)


def test_facts_are_those_of_the_network_inside(wrapped, network, images):
    assert torch.equal(normalized(images[0], wrapped), normalized(images[0], network))
    assert not torch.equal(normalized(images[0], wrapped), images[0])
    assert (name_of(wrapped), input_size_of(wrapped)) == (name_of(network), input_size_of(network))
    surgeon.models.set_normalization(wrapped, (0.5,) * 3, (0.5,) * 3)
    assert surgeon.models.normalization_of(unwrapped(wrapped)) == ((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize("around", WRAPPERS.values(), ids=WRAPPERS)
def test_an_evaluation_is_of_the_network_inside(around, network, images, tmp_path):
    cut = surgeon.apply(network, "kap", input_size=(3, 16, 16)).eval()
    alone, inside = (
        assess(model, *images, SETTINGS, tmp_path / place)
        for place, model in (("alone", cut), ("inside", around(cut)))
    )
    assert inside.subject.operations and inside.subject.name == alone.subject.name == "zoo/shallow2"
    for part in ("clean", "worst", "lowest"):
        assert getattr(inside.summary, part) == getattr(alone.summary, part)


def test_no_folder_and_no_file_is_of_a_wrapper(wrapped, tmp_path):
    inside = "_orig_mod" if hasattr(wrapped, "_orig_mod") else "module"
    with pytest.raises(ArgumentError, match=re.escape(f"surgeon.save(model.{inside}, …) takes it")):
        surgeon.save(wrapped, tmp_path / "saved")
    with pytest.raises(ArgumentError, match=re.escape(f"surgeon.export(model.{inside}, …) takes it")):
        surgeon.export(wrapped, tmp_path / "saved.pt2", format="torch-export", input_size=(3, 16, 16))
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_nor_of_torchscript(network, tmp_path):
    traced = torch.jit.trace(network, torch.rand(1, 3, 16, 16))
    with pytest.raises(ArgumentError, match="compiled by TorchScript"):
        surgeon.save(traced, tmp_path / "saved")
    with pytest.raises(ArgumentError, match="compiled by TorchScript"):
        surgeon.export(traced, tmp_path / "saved.pt2", format="torch-export", input_size=(3, 16, 16))


def test_a_training_is_told_by_the_network_inside(wrapped, images):
    settings = Training(epochs=1, batch_size=6)
    with pytest.warns(
        CalibrationWarning, match="does not normalise images, and by the configuration of zoo/shallow2"
    ):
        fit(wrapped, Images(*images), settings=settings, device="cpu", progress=False)


@pytest.mark.parametrize("around", [nn.Sequential, Handing])
def test_a_module_that_hands_images_on_is_told_of(network, images, tmp_path, around):
    words = rf"model(\[0\]|.network) in this {around.__name__}, a zoo/shallow2,? "
    with pytest.warns(CalibrationWarning, match=words + "is given pixels"):
        assess(around(network), *images, SETTINGS, tmp_path / "pixels")
    settings = Training(epochs=1, batch_size=6)
    with pytest.warns(CalibrationWarning, match=words.removesuffix(",? ")):
        fit(around(network), Images(*images), settings=settings, device="cpu", progress=False)


def test_a_module_that_normalises_itself_is_not(network, images, tmp_path):
    own = Handing(network, MEAN, STD)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CalibrationWarning)
        itself = assess(own, *images, SETTINGS, tmp_path / "own")
        settings = Training(epochs=1, batch_size=6)
        fit(own, Images(*images), settings=settings, device="cpu", progress=False)
        fit(
            nn.Sequential(network),
            Images(*images),
            None,
            settings,
            normalize=(MEAN, STD),
            device="cpu",
            progress=False,
        )
    assert itself.summary.clean.n == 12


def test_a_library_network_inside(images, tmp_path):
    with pytest.warns(CalibrationWarning, match=r"model\.model in this Around, a "):
        assess(Around(), images[0].repeat(1, 1, 2, 2), images[1], SETTINGS, tmp_path / "timm")


class Around(nn.Module):
    """Like the wrappers that other libraries write around timm."""

    def __init__(self):
        super().__init__()
        self.model = timm.create_model("test_resnet", num_classes=10)

    def forward(self, x):
        return {"logits": self.model(x)}


@pytest.mark.parametrize("around", [nn.Sequential, Handing, lambda n: nn.DataParallel(nn.Sequential(n))])
def test_images_that_nobody_normalises_are_told_wherever_they_are_normalised_or_written(
    network, images, tmp_path, around
):
    """`normalized` gave pixels back, a folder and a file said nothing of mean and std: each without a word."""
    model, where = around(network), "network" if around is Handing else "0"
    place = {nn.Sequential: "model[0]", Handing: "model.network"}.get(around, "model.module[0]")
    told = (
        re.escape(place)
        + f" in this .*, a zoo/shallow2, is given images that are not normalised, .*{MEAN[0]}"
    )
    with pytest.warns(CalibrationWarning, match=told):
        assert torch.equal(normalized(images[0], model), images[0])
    inside = unwrapped(model)
    place = "model[0]" if where == "0" else "model.network"
    told = f"says nothing of how images are normalised: {re.escape(place)} in this "
    with pytest.warns(ArtifactWarning, match=told):
        surgeon.save(inside, tmp_path / "saved")
    with pytest.warns(ArtifactWarning, match=told):
        surgeon.export(inside, tmp_path / "n.pt2", format="torch-export", input_size=(3, 16, 16))
    surgeon.models.set_normalization(model, MEAN, STD)  # as the words say
    with warnings.catch_warnings():
        warnings.simplefilter("error", CalibrationWarning)
        assert not torch.equal(normalized(images[0], model), images[0])
        done = surgeon.export(inside, tmp_path / "m.pt2", format="torch-export", input_size=(3, 16, 16))
    assert metadata(done.path)["mean"] == list(MEAN)


def test_where_the_module_normalises_itself_nothing_is_told(network, images, tmp_path):
    own = Handing(network, MEAN, STD)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert torch.equal(normalized(images[0], own), images[0])
        surgeon.save(own, tmp_path / "saved")
        surgeon.export(own, tmp_path / "n.pt2", format="torch-export", input_size=(3, 16, 16))
    assert not [w for w in said if "normalised" in str(w.message)]


@pytest.mark.parametrize("around", [nn.Sequential, lambda n: nn.DataParallel(nn.Sequential(n))])
def test_a_training_names_the_place_as_python_reaches_it(network, images, around):
    model = around(network)
    settings = Training(epochs=1, batch_size=6)
    with pytest.warns(CalibrationWarning) as said:
        fit(model, Images(*images), settings=settings, device="cpu", progress=False)
    (text,) = [str(w.message) for w in said if "normalization_of" in str(w.message)]
    (call,) = re.findall(r"surgeon\.models\.normalization_of\(.*?\)(?= or)", text)
    assert eval(call, {"surgeon": surgeon, "model": model}) == (MEAN, STD)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("compiled", ["script", "trace", "in parallel", "read again"])
def test_torchscript_keeps_no_normalisation_and_that_is_told(network, images, tmp_path, compiled):
    model = torch.jit.trace(network, images[0]) if compiled == "trace" else torch.jit.script(Plain())
    if compiled == "in parallel":
        model = nn.DataParallel(model)
    if compiled == "read again":
        torch.jit.save(model, tmp_path / "model.pt")
        model = torch.jit.load(tmp_path / "model.pt")
    settings, words = Training(epochs=1, batch_size=6), "TorchScript, which keeps nothing of how"
    with pytest.warns(CalibrationWarning, match=words):
        assess(model, *images, SETTINGS, tmp_path / "pixels")
    with pytest.warns(CalibrationWarning, match=words):
        normalized(images[0], model)
    with pytest.warns(CalibrationWarning, match=words):
        fit(model, Images(*images), settings=settings, device="cpu", progress=False)
    surgeon.models.set_normalization(model, MEAN, STD)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CalibrationWarning)
        said = assess(model, *images, SETTINGS, tmp_path / "said")
        fit(model, Images(*images), None, settings, normalize=(MEAN, STD), device="cpu", progress=False)
    assert said.subject.mean == MEAN


class Plain(nn.Sequential):
    """What torch can script."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 10))


class Average(torch.optim.swa_utils.AveragedModel):
    """An average with a rule of its own, as torchvision's references have one."""

    def __init__(self, network, decay=0.9):
        super().__init__(
            network, avg_fn=lambda old, new, _: decay * old + (1 - decay) * new, use_buffers=True
        )


class Doubling(Average):
    def forward(self, x):
        return 2 * super().forward(x)


def sharded(network):
    """As FullyShardedDataParallel is named and holds its network; a real one needs a process group."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    model = FullyShardedDataParallel.__new__(FullyShardedDataParallel)
    nn.Module.__init__(model)
    model._fsdp_wrapped_module = network
    return model


def test_an_average_with_a_rule_of_its_own_is_one(network, images, tmp_path):
    assert torch.equal(normalized(images[0], Average(network)), normalized(images[0], network))
    assert assess(Average(network), *images, SETTINGS, tmp_path / "average").subject.mean == MEAN
    with pytest.raises(ArgumentError, match=re.escape("wrapped in Average: surgeon.save(model.module, …)")):
        surgeon.save(Average(network), tmp_path / "saved")
    with pytest.raises(SurgeryError, match="wrapped in Average"):
        surgeon.apply(Average(network), "kap", input_size=(3, 16, 16))
    assert not place_inside(Doubling(network))  # what it computes is not what the network does


def test_facts_of_a_sharded_network(network):
    model = sharded(network)
    assert name_of(model) == "zoo/shallow2" and surgeon.models.normalization_of(model) == (MEAN, STD)
    assert unwrapped(model) is model and unwrapped(model, sharded=True) is network


def test_classes_and_resizing_are_those_of_the_network_inside():
    network = surgeon.create_model("resnet10t", num_classes=7)
    inside = nn.DataParallel(network)
    assert resizing_of(inside) == resizing_of(network) is not None
    trained_on_stretched(inside)
    assert not resized_otherwise(network)


@pytest.mark.parametrize("around", WRAPPERS.values(), ids=WRAPPERS)
def test_the_network_to_attack_is_folded_also_in_a_wrapper(around, network, images):
    cut = surgeon.apply(network, "kap", input_size=(3, 16, 16)).eval()
    assert surgeon.surgery_of(evaluated(cut, images[0])) is None  # it folds
    attacked = evaluated(around(cut), images[0])
    assert type(attacked) is type(network) and surgeon.surgery_of(attacked) is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_source_is_told_of_as_its_target_is(network, images, tmp_path):
    with pytest.warns(CalibrationWarning, match=r"model\[0\] in this Sequential"):
        assess(network, *images, SETTINGS, tmp_path / "s", sources={"other": nn.Sequential(network)})


class Part(nn.Module):
    """Calls a network on what `given` makes of images."""

    def __init__(self, network, given):
        super().__init__()
        self.network, self.given = network, given

    def forward(self, x):
        return self.given(self.network, x)


@pytest.mark.parametrize(
    ("given", "normalised"),
    [
        (lambda n, x: n(nn.functional.interpolate(x, size=(20, 20))), False),
        (lambda n, x: n(x=x), False),
        (lambda n, x: n(x.clamp(0, 1).contiguous(memory_format=torch.channels_last)), False),
        (lambda n, x: n(x + 0.01 * torch.randn_like(x)), False),
        (lambda n, x: n(x[:, :1].expand(-1, 3, -1, -1)), False),
        (lambda n, x: n(nn.functional.interpolate((x - 0.4) / 0.25, size=(20, 20))), True),
        (lambda n, x: n(2 * x - 1), True),
    ],
    ids=["resized", "by name", "laid otherwise", "with noise", "gray", "resized and normalised", "shifted"],
)
def test_what_a_network_inside_is_really_given_is_looked_at(network, images, given, normalised):
    draws = torch.get_rng_state()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        normalized(images[0], Part(network, given))
    assert bool(said) is not normalised
    assert torch.equal(draws, torch.get_rng_state())


@pytest.mark.parametrize("recipe", ["kap", "kwta"])
def test_a_module_around_a_network_is_told_of_after_its_surgery_too(network, images, tmp_path, recipe):
    """A graph calls the layers of the network inside, and not that itself."""
    cut = surgeon.apply(nn.Sequential(network), recipe, input_size=(3, 16, 16)).eval()
    before = cut(images[0])
    with pytest.warns(CalibrationWarning, match=r"model\[0\] in this Sequential"):
        normalized(images[0], cut)
    assert torch.equal(cut(images[0]), before)
    own = surgeon.apply(Handing(network, MEAN, STD), recipe, input_size=(3, 16, 16)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error", CalibrationWarning)
        normalized(images[0], own)
