"""What a network holds beside its weights and a name makes otherwise: it comes back from a folder, or is told."""

import pytest
import torch

import surgeon
from surgeon.errors import ArtifactError, ArtifactWarning

NAME, CODE, SIZE = "tests.kept_apart:Net", ["tests.kept_apart"], (3, 8, 8)


def other(key):
    model = surgeon.create_model(NAME, input_size=SIZE).eval()
    there = getattr(model, key)
    if isinstance(there, torch.Tensor):
        there.add_(torch.arange(16.0).view(16, 1, 1) + 1)
    else:
        setattr(model, key, 3.0)
    return model


@pytest.fixture(params=[False, True], ids=["stock", "cut"])
def written(request):
    return lambda model: surgeon.apply(model, "noise", input_size=SIZE) if request.param else model


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("key", ["gain", "_gain"])
def test_plain_settings_of_ones_own_code_come_back(key, written, tmp_path):
    model, x = written(other(key)).eval(), torch.randn(2, *SIZE)
    surgeon.save(model, tmp_path / "net")
    again = surgeon.load(tmp_path / "net", allow_code=CODE)
    assert torch.equal(again(x), model(x))
    assert getattr(surgeon.create_model(NAME), key) == 1.0


@pytest.mark.parametrize("key", ["scale", "shift"])
def test_tensors_that_no_file_holds_are_told_and_never_replaced_by_others(key, written, tmp_path):
    stock = other(key)
    model, x = written(stock).eval(), torch.randn(2, *SIZE)
    with pytest.warns(ArtifactWarning, match=rf"{key} is numbers of its own \(\w+\), which no file holds"):
        surgeon.save(model, tmp_path / "net")
    with pytest.raises(ArtifactError, match=rf"{key} is numbers of its own"):
        surgeon.load(tmp_path / "net", allow_code=CODE)
    assert torch.equal(surgeon.load(tmp_path / "net", model=stock, allow_code=CODE)(x), model(x))
    said = f"model is not the network that was written: {key} was numbers of its own .* as its name makes it;"
    with pytest.raises(ArtifactError, match=said):
        surgeon.load(tmp_path / "net", model=surgeon.create_model(NAME), allow_code=CODE)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_those_that_were_made_so_are_not(dtype, written, tmp_path):
    model = surgeon.create_model(NAME, input_size=SIZE).to(dtype)
    surgeon.save(written(model), tmp_path / "net")
    surgeon.load(tmp_path / "net", allow_code=CODE)
