"""k-winners-take-all: its equation, which places it takes, and that images do not see each other."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import FoldError, LayerError, RecipeError, SelectionError
from surgeon.methods.kwta import KWinners, winners
from tests.reference import kwta as reference

SIZE = (3, 32, 32)


@pytest.fixture(scope="module")
def stock():
    torch.manual_seed(0)
    return surgeon.create_model("resnet18", num_classes=5, input_size=SIZE).eval()


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(4, 3, 5, 2), (4, 30), (4, 7, 6)])
def test_the_layer_is_the_papers_function(share, shape):
    x = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = KWinners(share)(x)
    assert torch.equal(found, reference.k_winners(x, share))
    assert ((found != 0).flatten(1).sum(1) == reference.winners(share, x[0].numel())).all()


def test_k_is_the_ceiling_of_the_share_as_it_is_written():
    shares = [i / 100 for i in range(1, 101)]
    for numbers in (1, 3, 10, 30, 49, 100, 700, 64 * 56 * 56):
        assert [winners(s, numbers) for s in shares] == [reference.winners(s, numbers) for s in shares]


def test_equal_numbers_all_win_and_what_is_no_number_is_seen():
    x = torch.tensor([[1.0, 1.0, 1.0, 0.5], [2.0, -1.0, -3.0, -1.0]])
    assert KWinners(0.5)(x).tolist() == [[1, 1, 1, 0], [2, -1, 0, -1]]
    assert KWinners(0.5)(torch.tensor([[float("nan"), 1.0, 2.0, 3.0]])).isnan().any()
    assert KWinners(0.5)(torch.zeros(0, 4, 2)).shape == (0, 4, 2)


def test_gradients_are_those_of_the_winners():
    x = torch.randn(3, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    found = KWinners(0.25)(x)
    found.sum().backward()
    assert torch.equal(x.grad, (found != 0).double())


def test_wrong_inputs_are_errors():
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(LayerError, match="cannot win"):
            KWinners(share)
    with pytest.raises(LayerError, match=r"got an input of shape \(4,\)"):
        KWinners(0.5)(torch.zeros(4))
    with pytest.raises(RecipeError, match="share"):
        surgeon.plan(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), "kwta", share=0.0)


def test_an_image_does_not_depend_on_the_others_of_its_batch(stock):
    cut = surgeon.apply(stock, "kwta", input_size=SIZE).double().eval()
    x = torch.rand(3, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(cut(x)[1:2], cut(x[1:2]), atol=1e-9, rtol=1e-9)
    assert len(cut.surgery.edits) == sum(isinstance(m, nn.ReLU) for m in stock.modules()) == 17
    assert not any(isinstance(m, nn.ReLU) for m in cut.modules())


def test_in_a_fused_norm_the_activation_alone_is_replaced_and_gates_stay():
    torch.manual_seed(0)
    stock = surgeon.create_model("efficientnet_b0", num_classes=4).eval()
    cut = surgeon.apply(stock, "kwta", input_size=SIZE, share=0.2).eval()
    assert isinstance(cut.bn1.act, KWinners) and type(cut.bn1) is type(stock.bn1)
    assert any(e.site == "bn1.act" for e in cut.surgery.edits)
    gates = {n for n, m in stock.named_modules() if isinstance(m, nn.Sigmoid)}
    assert gates and all(isinstance(cut.get_submodule(n), nn.Sigmoid) for n in gates)
    x = torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(1))
    cut.double(), stock.double()
    with torch.no_grad():
        stem = stock.conv_stem(x.double())
        held = (getattr(stock.bn1, n) for n in ("running_mean", "running_var", "weight", "bias"))
        norm = nn.functional.batch_norm(stem, *held, eps=stock.bn1.eps)
        torch.testing.assert_close(cut.bn1(stem), reference.k_winners(norm, 0.2), atol=1e-9, rtol=1e-9)
    back = surgeon.revert(cut).double()
    with torch.no_grad():
        assert torch.equal(back(x.double()), stock(x.double()))


def test_training_after_the_cut_is_kept_in_a_fused_norm_when_reverted():
    stock = surgeon.create_model("efficientnet_b0", num_classes=4)
    cut = surgeon.apply(stock, "kwta", input_size=SIZE)
    with torch.no_grad():
        cut.bn1.weight.fill_(3.0)
    assert (surgeon.revert(cut).bn1.weight == 3.0).all()


def test_with_meansparse_the_layers_stand_before_the_winners(stock):
    images = torch.rand(32, *SIZE, generator=torch.Generator().manual_seed(2))
    recipe = {"surgery": [{"op": "meansparse", "alpha": 0.3}, {"op": "kwta"}]}
    cut = surgeon.apply(stock, recipe, input_size=SIZE, calibration=images).eval()
    assert isinstance(cut.act1, KWinners) and "meansparse" in dict(cut.act1.named_children())
    assert torch.isfinite(cut(images[:2])).all()


def test_it_saves_loads_and_does_not_fold(stock, tmp_path):
    cut = surgeon.apply(stock, "kwta", input_size=SIZE).eval()
    surgeon.save(cut, tmp_path / "cut")
    loaded = surgeon.load(tmp_path / "cut").eval()
    x = torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(1))
    assert torch.equal(loaded(x), cut(x)) and loaded.surgery == cut.surgery
    with pytest.raises(FoldError, match="no stock module"):
        surgeon.fold(cut)


def test_only_gates_is_no_site():
    with pytest.raises(SelectionError, match="Sigmoid weighs other activations"):
        surgeon.plan(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid()), "kwta", input_size=SIZE)
