"""Networks whose structure code changed after the cut: their folder loads by the way that saving tells, or is not
written."""

import copy

import pytest
import timm
import torch
from torch import nn

import surgeon
from surgeon.errors import ArtifactError, ArtifactWarning, SurgeryError
from tests.interop.tiny import IMAGES, Tiny, tiny_cut

SIZE = (3, 32, 32)
X = torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(0))


def stock():
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=4).eval()


def head(model):
    model.fc = nn.Linear(96, 7)


def reset(model):
    model.reset_classifier(7)


def block(model):
    model.layer4.append(nn.Conv2d(96, 96, 1))


def buffer(model):
    model.register_buffer("counter", torch.ones(3))


def changed(model, change):
    torch.manual_seed(1)
    change(model)
    return model.eval()


def outputs(model):
    with torch.no_grad():
        return model(X)


@pytest.fixture(scope="module")
def networks():
    """What is changed and written: the network itself, and cut."""
    return {"stock": stock(), "cut": surgeon.apply(stock(), "anl", input_size=SIZE).eval()}


@pytest.mark.parametrize("of", ["stock", "cut"])
@pytest.mark.parametrize("change", [head, reset])
def test_a_head_of_another_number_of_classes_loads_by_name(networks, of, change, tmp_path, recwarn):
    model = changed(copy.deepcopy(networks[of]), change)
    wanted = outputs(model)
    loaded = surgeon.load(surgeon.save(model, tmp_path / "a"))
    assert torch.equal(outputs(loaded), wanted) and wanted.shape == (2, 7)
    assert loaded.num_classes == model.num_classes
    assert torch.equal(outputs(surgeon.load(surgeon.save(loaded, tmp_path / "b"))), wanted)
    assert torch.equal(outputs(surgeon.load(tmp_path / "a", model=changed(stock(), change))), wanted)
    assert not [w for w in recwarn if issubclass(w.category, ArtifactWarning)]
    with pytest.raises(ArtifactError, match="fc.weight was .*, and is .*, and . more; make the same changes"):
        surgeon.load(tmp_path / "a", model=stock())


@pytest.mark.parametrize("of", ["stock", "cut"])
@pytest.mark.parametrize(
    ("change", "told"), [(block, r"layer4.1 is Conv2d \(digest \w+\)"), (buffer, r"counter is \(3,\)")]
)
def test_what_was_added_is_told_and_loads_onto_a_network_of_the_same_change(
    networks, of, change, told, tmp_path
):
    model = changed(copy.deepcopy(networks[of]), change)
    wanted, folder = outputs(model), tmp_path / "out"
    with pytest.warns(ArtifactWarning, match=rf"{told}, which its name does not make.* as model=…"):
        surgeon.save(model, folder)
    assert torch.equal(outputs(surgeon.load(folder, model=changed(stock(), change))), wanted)
    if of == "cut":
        assert torch.equal(outputs(surgeon.load(folder, model=surgeon.revert(model))), wanted)
    with pytest.raises(ArtifactError, match=rf"{told}, .*pass a network with the same changes"):
        surgeon.load(folder)
    with pytest.raises(
        ArtifactError, match=rf"{told.split()[0]} was .* as its name makes it; make the same changes"
    ):
        surgeon.load(folder, model=stock())


def test_a_child_is_told_where_a_container_calls_it_alone(networks, tmp_path, recwarn):
    model = copy.deepcopy(networks["stock"])
    model.loss = nn.CrossEntropyLoss()
    assert torch.equal(outputs(surgeon.load(surgeon.save(model, tmp_path / "loss"))), outputs(model))
    assert not [w for w in recwarn if issubclass(w.category, ArtifactWarning)]
    model.layer4.append(nn.Softmax(1))
    with pytest.warns(ArtifactWarning, match=r"layer4.1 is Softmax\(dim=1\), which its name does not make"):
        surgeon.save(model, tmp_path / "softmax")


def longer(model):
    model.classifier.append(nn.Linear(4, 5))


def test_own_code_without_a_name_loads_onto_the_same_change_and_no_other_network(tmp_path):
    model = changed(tiny_cut("anl"), longer)
    with pytest.warns(
        ArtifactWarning, match="with a fresh Tiny before any surgery, changed as this one was after it"
    ):
        folder = surgeon.save(model, tmp_path / "out")
    assert torch.equal(surgeon.load(folder, model=changed(Tiny(), longer))(IMAGES), model(IMAGES))
    with pytest.raises(ArtifactError, match="2 unexpected: classifier.2"):
        surgeon.load(folder, model=Tiny())
    with pytest.raises(SurgeryError, match=r"changed in code after it .*, and this Tiny is another network"):
        surgeon.load(folder, model=changed(Tiny(), lambda m: m.blocks.append(nn.Conv2d(16, 16, 3))))


class Branching(nn.Sequential):
    """A container that decides by values, which no graph follows."""

    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x


def test_a_network_that_no_longer_runs_is_not_saved(tmp_path):
    model = tiny_cut("kap")
    model.features = Branching(*model.features)
    with pytest.raises(SurgeryError, match="features: Branching in .*change modules before surgeon.apply"):
        surgeon.save(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
