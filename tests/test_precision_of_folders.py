"""A folder keeps the precision of its network, and whoever trains or attacks it in float32 is told."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import ArtifactWarning
from surgeon.store.precision import in_float32, take_precision

SIZE = (1, 28, 28)


@pytest.fixture
def stock():
    torch.manual_seed(0)
    return surgeon.create_model("zoo/lenet5").eval()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("recipe", ["plain", "kap", "noise", "defective", "wm-unsharp-all"])
def test_a_network_comes_back_in_its_precision(stock, recipe, dtype, tmp_path):
    cut = (stock if recipe == "plain" else surgeon.apply(stock, recipe, input_size=SIZE)).to(dtype).eval()
    with torch.no_grad():
        next(iter(cut.parameters())).mul_(1 + 1e-9)  # which float32 cannot hold
    again = surgeon.load(surgeon.save(cut, tmp_path / "it"))
    wanted = cut.state_dict()
    assert all(
        torch.equal(v, wanted[k]) and v.dtype == wanted[k].dtype for k, v in again.state_dict().items()
    )
    x = torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(1)).to(dtype)
    assert torch.equal(again(x), cut(x))


def test_weights_too_large_for_float32_come_back(stock, tmp_path):
    stock.double()
    with torch.no_grad():
        next(iter(stock.parameters()))[0] = 1e300
    again = surgeon.load(surgeon.save(stock, tmp_path / "it"))
    assert float(next(iter(again.parameters()))[0].flatten()[0]) == 1e300


def test_a_network_in_two_precisions_comes_back_in_both():
    def made():
        return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    network = made()
    network[1].double()
    into = made()
    parameter = into[1].weight
    take_precision(into, network.state_dict())
    assert into[1].weight is parameter and parameter.dtype == into[1].running_var.dtype == torch.float64
    assert into[0].weight.dtype == torch.float32 and into[1].num_batches_tracked.dtype == torch.int64


def test_what_works_in_float32_says_so(stock):
    assert in_float32(stock, "here") is stock
    with pytest.warns(
        ArtifactWarning, match="here is in float64: the network is used in float32, rounded to it"
    ):
        assert next(in_float32(stock.double(), "here").parameters()).dtype == torch.float32
    with pytest.warns(ArtifactWarning, match="here is in bfloat16: the network is used in float32$"):
        in_float32(stock.bfloat16(), "here")


def test_a_file_in_a_higher_precision_than_the_network_says_that_it_is_rounded(stock, tmp_path):
    exact = {k: v.double() for k, v in stock.state_dict().items()}
    torch.save(exact, tmp_path / "exact.pt")
    surgeon.load_weights(surgeon.create_model("zoo/lenet5"), tmp_path / "exact.pt")  # nothing is rounded
    torch.save({**exact, "fc1.weight": exact["fc1.weight"] * (1 + 1e-9)}, tmp_path / "w.pt")
    said = (
        r"w.pt is in float64, and the network in float32: 1 of 10 tensors, the first fc1.weight, are rounded"
    )
    with pytest.warns(ArtifactWarning, match=said):
        surgeon.load_weights(surgeon.create_model("zoo/lenet5"), tmp_path / "w.pt")
    with pytest.warns(ArtifactWarning, match=said):
        surgeon.create_model("zoo/lenet5", weights=str(tmp_path / "w.pt"))
    torch.save({k: v.bfloat16() for k, v in exact.items()}, tmp_path / "half.pt")
    surgeon.load_weights(surgeon.create_model("zoo/lenet5"), tmp_path / "half.pt")


def test_a_conversion_says_in_which_precision_it_was_made(stock, tmp_path):
    from surgeon.pipeline.conversion import read_conversion
    from tests.cli.commandline import invoke

    for dtype, said in ((torch.bfloat16, ["bfloat16"]), (torch.float32, [])):
        name = str(dtype).removeprefix("torch.")
        surgeon.save(stock.to(dtype), tmp_path / name)
        out = tmp_path / f"{name}-kap"
        code, shown, err = invoke("convert", "kap", tmp_path / name, "-o", out)
        assert code == 0, err
        notes = [n for n in read_conversion(out).notes if "it was cut, fitted and measured" in n]
        assert [n.split(": ")[0] for n in notes] == [f"{tmp_path / name} is in {t}" for t in said]
        assert ("it was cut, fitted and measured" in " ".join(shown.split())) is bool(said)
        assert surgeon.load(out).conv1.weight.dtype == dtype
