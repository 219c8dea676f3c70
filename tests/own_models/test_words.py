"""What is said of networks that cannot be cut, saved or loaded as they are: the value, the place, and what works."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import ArtifactError, SelectionError, SurgeryError
from tests.own_models.checks import SIZE, Plain, images, out


class TwoInputs(Plain):
    def forward(self, image, depth):
        return self.head(self.features(image + depth).mean((2, 3)))


class Parted(nn.Module):
    """What the error proposes."""

    def __init__(self):
        super().__init__()
        self.model = TwoInputs()

    def forward(self, x):
        return self.model(x[:, :3], x[:, 3:])


def test_two_inputs_at_a_size():
    way = r"give depth a default in its forward, or cut a module around it .* model\(x\[:, :3\], x\[:, 3:\]\)"
    with pytest.raises(
        SurgeryError, match=rf"other inputs than an image \(depth\).*input_size=\(3, 8, 8\).*{way}"
    ):
        surgeon.apply(TwoInputs(), "wm-smoothing-all", input_size=SIZE)
    with pytest.raises(SelectionError, match=rf"need to know the network's input size.*{way}"):
        surgeon.apply(TwoInputs(), "wm-smoothing-all")
    cut = surgeon.apply(Parted(), "wm-smoothing-all", input_size=(6, 8, 8))
    assert [e.site for e in cut.surgery.edits] == ["model.conv", "model.conv2"]


def test_noise_at_the_first_of_two_inputs_names_the_other():
    cut = surgeon.apply(TwoInputs(), "noise")
    (note,) = [n for n in cut.surgery.notes if n.code == "inputs"]
    assert note.text.startswith(
        "noise at the input stands at image alone: the network's forward takes depth too"
    )
    image, depth = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    seen = {}
    cut.input_noise.register_forward_hook(
        lambda m, args, out: seen.update(moved=not out.equal(args[0]), n=len(args))
    )
    cut.train()(image, depth)
    assert seen == {"moved": True, "n": 1}
    # What the note proposes reaches both, and is told nothing.
    both = surgeon.apply(Parted(), "noise", input_size=(6, 8, 8))
    assert [n for n in both.surgery.notes if n.code == "inputs"] == []
    both.input_noise.register_forward_hook(
        lambda m, args, out: seen.update(channels=out.abs().sum((0, 2, 3)) > 0)
    )
    both.train()(torch.zeros(2, 6, 8, 8))
    assert seen["channels"].all()
    assert [n for n in surgeon.plan(Plain(), "noise").notes if n.code == "inputs"] == []


class DepthWhereGiven(Plain):
    def forward(
        self, image, depth=None, scale: float = 1.0, features=False, mask: torch.Tensor | None = None
    ):
        image = image if depth is None else image + depth
        return self.head(scale * self.features(image).mean((2, 3)))


def test_noise_at_the_first_input_names_those_that_a_call_may_give():
    cut = surgeon.apply(DepthWhereGiven(), "noise", input_size=SIZE)
    (note,) = [n for n in cut.surgery.notes if n.code == "inputs"]
    assert note.severity == "info" and note.text.startswith(
        "noise at the input stands at image alone: the network's forward takes depth and mask where a call gives them, "
        "which stay as given"
    )


class Initialises(Plain):
    """As ActNorm: what the first batch decides, with the flag in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, x):
        h = self.conv(x)
        if not self.initialised:
            self.norm.weight.data.copy_(1 / h.std((0, 2, 3)))
            self.initialised.fill_(True)
        return self.head(self.conv2(self.norm(h)).mean((2, 3)))


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16))
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, h):
        if not self.initialised:
            self.weight.data.copy_(1 / h.std((0, 2, 3)))
            self.initialised.fill_(True)
        return h * self.weight[:, None, None]


def test_a_flag_in_a_buffer():
    text = r"Initialises .* the values in initialised, .* a module of its own, which keeps its Python"
    with pytest.raises(SurgeryError, match=text):
        surgeon.apply(Initialises(), "kap", input_size=SIZE)
    stock = Plain()
    stock.norm = Scale()
    cut = surgeon.apply(stock.eval(), "noise", input_size=SIZE)
    assert not cut.norm.initialised  # the cut's own passes are no training
    assert torch.equal(out(cut, images()), out(stock, images())) and cut.norm.initialised


class Twice(nn.Conv2d):
    def __call__(self, x):
        return 2 * super().__call__(x)


def test_a_convolution_with_a_call_of_its_own():
    """It is called as a whole, once; its weights alone are not what it computes."""
    stock = Plain(Twice(16, 16, 3, padding=1)).eval()
    cut = surgeon.apply(stock, "noise", input_size=SIZE).eval()
    assert torch.equal(out(cut, images()), out(stock, images()))
    assert "conv2.noise" in [e.layer for e in cut.surgery.edits]
    maps = surgeon.apply(stock, "wm-smoothing-all", input_size=SIZE).surgery
    assert [e.site for e in maps.edits] == ["conv"]
    assert [p.reason for p in maps.passed_over if p.site == "conv2"] == [
        "Twice has a __call__ of its own, which may do anything with its weights"
    ]


def adapted(network):
    """As TENT leaves it."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = None
    return network


@pytest.mark.filterwarnings("ignore::surgeon.errors.ArtifactWarning")
@pytest.mark.parametrize("recipe", ["kap", "anl"])  # a layer elsewhere, and one behind the norm
def test_norms_without_the_statistics_that_they_had(recipe, tmp_path):
    cut = adapted(surgeon.apply(Plain(), recipe, input_size=SIZE))
    text = (
        r"at norm the surgery left BatchNorm2d with running statistics, .* TENT.*put them back.*surgeon\.fold"
    )
    with pytest.raises(SurgeryError, match=text):
        surgeon.save(cut, tmp_path / "lost")
    if recipe != "kap":
        return
    surgeon.save(surgeon.fold(cut), tmp_path / "folded")
    with pytest.raises(ArtifactError, match=r"norm was saved without running statistics, .* are None too"):
        surgeon.load(tmp_path / "folded", model=Plain())
    again = surgeon.load(tmp_path / "folded", model=adapted(Plain()))
    torch.testing.assert_close(out(again.train(), images()), out(surgeon.fold(cut).train(), images()))
    before = surgeon.apply(adapted(Plain()), "kap", input_size=SIZE)  # it was so at the cut
    surgeon.save(before, tmp_path / "before")
    assert surgeon.load(tmp_path / "before", model=adapted(Plain())).norm.running_mean is None


@pytest.mark.filterwarnings("ignore::surgeon.errors.ArtifactWarning")
@pytest.mark.parametrize("recipe", ["kap+defective", "anl+kap+wm-smoothing-all"])
def test_what_a_part_of_the_surgery_was_folded_from_is_not_forgotten(recipe, tmp_path):
    """What remains is a surgery of the network that had the statistics."""
    cut = adapted(surgeon.apply(Plain(), recipe, input_size=SIZE))
    part = surgeon.fold(cut, partial=True)
    assert 0 < len(part.surgery.edits) < len(cut.surgery.edits)
    with pytest.raises(
        SurgeryError, match=r"at norm the surgery left BatchNorm2d with .* TENT.*put them back"
    ):
        surgeon.save(part, tmp_path / "lost")
    for name, module in part.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = True
            was = Plain().get_submodule(name)
            module.running_mean, module.running_var = was.running_mean.clone(), was.running_var.clone()
    surgeon.save(part, tmp_path / "back")
    again = surgeon.load(tmp_path / "back", model=Plain())
    assert torch.equal(out(again.eval(), images()), out(part.eval(), images()))


@pytest.mark.filterwarnings("ignore::surgeon.errors.ArtifactWarning")
def test_a_part_is_folded_of_a_network_that_was_so_at_the_cut(tmp_path):
    part = surgeon.fold(surgeon.apply(adapted(Plain()), "kap+defective", input_size=SIZE), partial=True)
    surgeon.save(part, tmp_path / "part")
    again = surgeon.load(tmp_path / "part", model=adapted(Plain()))
    assert torch.equal(out(again.train(), images()), out(part.train(), images()))


@pytest.mark.filterwarnings("ignore::surgeon.errors.ArtifactWarning")
def test_an_exchanged_module_is_not_forgotten_where_a_part_was_folded(tmp_path):
    cut = surgeon.apply(Plain(), "kap+defective", input_size=SIZE).eval()
    cut.norm = nn.GroupNorm(4, 16)
    part = surgeon.fold(cut, partial=True)
    assert [e.site for e in part.surgery.edits] == ["norm"]
    with pytest.raises(SurgeryError, match="at norm the surgery left BatchNorm2d .*GroupNorm"):
        surgeon.save(part, tmp_path / "exchanged")
