"""`surgeon.load_weights` from a folder of surgeon's: what it says otherwise is told, and what it says alike is not."""

import json
import warnings

import pytest
import timm
import torch
from torch import nn

import surgeon
from surgeon.errors import ArgumentError, ArtifactError, ArtifactWarning
from surgeon.models.facts import assumes_normalization

SIZE = (3, 32, 32)


def network(**given):
    return surgeon.create_model("resnet10t", num_classes=3, input_size=SIZE, **given)


def exchanged():
    model = network()
    model.act1 = nn.SiLU()
    model.bn1.eps = 1e-3
    return model


def cut(recipe):
    return lambda: surgeon.apply(network(), recipe)


def folded():
    return surgeon.fold(surgeon.apply(network(), "kap"))


def told(model, weights):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        surgeon.load_weights(model, weights)
    return "; ".join(str(w.message) for w in said)


@pytest.mark.filterwarnings("ignore::surgeon.errors.ArtifactWarning")
@pytest.mark.parametrize(
    "make", [cut("kwta"), cut("kap"), folded, exchanged], ids=["kwta", "kap", "folded", "code"]
)
def test_nothing_is_told_of_a_network_that_is_the_folders(make, tmp_path):
    """It was called "another network", without the surgery that both have."""
    weights = surgeon.save(make(), tmp_path / "net") / "model.safetensors"
    assert not told(make(), weights)


@pytest.mark.filterwarnings("ignore::surgeon.errors.ArtifactWarning")
def test_what_is_not_the_folders_is_told(tmp_path):
    weights = surgeon.save(cut("kwta")(), tmp_path / "cut") / "model.safetensors"
    assert "a network with surgery (kwta), which resnet10t is made without here" in told(network(), weights)
    other = surgeon.apply(network(), [{"op": "kwta", "share": 0.5}])
    assert "a network with surgery (kwta), which resnet10t has otherwise" in told(other, weights)
    weights = surgeon.save(exchanged(), tmp_path / "code") / "model.safetensors"
    half = network()
    half.act1 = nn.SiLU()
    assert "changes at bn1.eps and 1 more place, which" in told(network(), weights)
    assert "changes at bn1.eps, which" in told(half, weights)


@pytest.mark.filterwarnings("ignore::surgeon.errors.ArtifactWarning")
def test_the_name_of_a_folder_whose_network_was_changed_is_the_architectures(tmp_path):
    weights = surgeon.save(cut("kwta")(), tmp_path / "cut") / "model.safetensors"
    assert json.loads((tmp_path / "cut" / "config.json").read_text())["architecture"] == "surgeon/resnet10t"
    with pytest.warns(ArtifactWarning) as said:
        surgeon.create_model("resnet10t", num_classes=3, weights=str(weights))
    (text,) = {str(w.message) for w in said}
    assert "surgery (kwta)" in text and "weights of surgeon/resnet10t" not in text


def test_a_network_of_timms_own_is_told_of_architecture_and_arguments(tmp_path):
    """Nothing was told of networks that surgeon had not made."""
    weights = surgeon.save(network(model_args={"act_layer": "silu"}), tmp_path / "args") / "model.safetensors"
    plain = timm.create_model("resnet10t", num_classes=3)
    assert "made with act_layer='silu', and nothing says how this resnet10t was made" in told(plain, weights)
    saved = surgeon.create_model("tf_mobilenetv3_small_075", num_classes=3)
    weights = surgeon.save(saved, tmp_path / "tf") / "model.safetensors"
    other = timm.create_model("mobilenetv3_small_075", num_classes=3)
    assert "weights of tf_mobilenetv3_small_075, and mobilenetv3_small_075 is made here" in told(
        other, weights
    )


def test_what_nobody_said_of_loaded_weights_is_a_guess(tmp_path):
    """`create_model(weights=…)` says so in the folder of the network; `load_weights` did not."""
    torch.save(network().state_dict(), tmp_path / "w.pth")
    guessed = network()
    surgeon.load_weights(guessed, tmp_path / "w.pth")
    folder = surgeon.save(guessed, tmp_path / "guessed")
    assert json.loads((folder / "config.json").read_text())["normalisation"] == "assumed"
    again = network()
    surgeon.load_weights(again, folder / "model.safetensors")  # whose folder says that it is a guess
    assert assumes_normalization(again)
    surgeon.models.set_normalization(again, (0.5,) * 3, (0.5,) * 3)
    for said in (again, network(mean=(0.5,) * 3, std=(0.5,) * 3)):
        surgeon.load_weights(said, tmp_path / "w.pth")
        assert not assumes_normalization(said)
    known = surgeon.load(surgeon.save(said, tmp_path / "said"))
    surgeon.load_weights(known, tmp_path / "w.pth")
    assert not assumes_normalization(known)
    bare = timm.create_model("resnet10t", num_classes=3)
    surgeon.load_weights(bare, tmp_path / "w.pth")
    assert not assumes_normalization(bare)


def test_layers_that_a_file_before_surgery_lacks_are_told(tmp_path):
    """The stock network's checkpoint went over fitted convolutions without a word."""
    torch.save(network().state_dict(), tmp_path / "stock.pt")
    model = surgeon.apply(network(), "kap")
    said = told(model, tmp_path / "stock.pt")
    assert "no tensors of the layers that surgery inserted (conv1" in said and "apply the recipe then" in said
    torch.save(model.state_dict(), tmp_path / "cut.pt")
    assert not told(surgeon.apply(network(), "kap"), tmp_path / "cut.pt")
    assert not told(network(), tmp_path / "stock.pt")


def test_what_a_loose_loading_leaves_is_told_and_nothing_at_all_is_an_error(tmp_path):
    model = network()
    state = model.state_dict()
    torch.save(
        {f"encoder.{k}": v for k, v in state.items() if k != "fc.bias"} | {"x": torch.ones(1)},
        tmp_path / "no.pt",
    )
    before = {k: v.clone() for k, v in state.items()}
    with pytest.raises(ArtifactError, match=r"not one of the \d+ tensors of this .*encoder\.conv1"):
        surgeon.load_weights(model, tmp_path / "no.pt", strict=False)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    torch.save(
        {k: v for k, v in state.items() if not k.startswith("fc")} | {"x": torch.ones(1)},
        tmp_path / "part.pt",
    )
    with pytest.warns(
        ArtifactWarning, match=r"2 tensors stay as they were \(fc.weight, fc.bias\); 1 of the file"
    ):
        surgeon.load_weights(network(), tmp_path / "part.pt", strict=False)
    torch.save(state, tmp_path / "all.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        surgeon.load_weights(network(), tmp_path / "all.pt", strict=False)


@pytest.mark.parametrize(
    ("wrap", "place"),
    [
        (nn.DataParallel, r"model\.module"),
        (lambda m: torch.compile(m, backend="eager"), r"model\._orig_mod"),
        (lambda m: nn.Sequential(nn.Identity(), m), r"model\[1\]"),
    ],
    ids=["DataParallel", "compile", "Sequential"],
)
def test_the_network_that_weights_fit_is_named_inside_another_module(wrap, place, tmp_path):
    torch.save(network().state_dict(), tmp_path / "w.pt")
    with pytest.raises(ArtifactError, match=f"it fits {place}: give that"):
        surgeon.load_weights(wrap(network()), tmp_path / "w.pt")


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_a_folder_asks_for_the_network_inside_a_wrapper(wrap, tmp_path):
    folder = surgeon.save(cut("kap")(), tmp_path / "cut")
    with pytest.raises(ArgumentError, match=r": give model\.(module|_orig_mod), which is the network"):
        surgeon.load(folder, model=wrap(network()))
