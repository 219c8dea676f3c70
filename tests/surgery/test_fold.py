"""Folding and reverting: the way back into stock modules."""

import re
import warnings

import pytest
import timm
import torch
from torch import nn

import surgeon
from surgeon.errors import FoldError, SurgeryError

SIZE = (3, 8, 8)


def relative(a, b):
    return float((a.double() - b.double()).norm() / b.double().norm())


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "kap", "start": "naive"},
        {"op": "kap", "start": "naive", "dims": 1, "kernel_size": 5},
        {"op": "kap", "start": "lstsq"},
        {"op": "kap", "start": "anneal"},
        {"op": "kap", "stride": 3, "start": "naive"},
        {"op": "kap", "stride": 3, "start": "lstsq"},
        {"op": "kap", "stride": 3, "start": "replicate"},
        {"op": "kap", "stride": 3, "dims": 1, "start": "replicate"},
        {"op": "kap", "stride": 2, "start": "naive", "sigma": 0.2},
        {"op": "kap", "start": "naive", "pre_norm": True},
        {"op": "adversarial-noise", "at_input": True},
        {"op": "adversarial-noise", "source": "canl"},
        {"op": "adversarial-noise", "source": "lat", "after": "conv"},
        {"op": "adversarial-noise", "source": "gaussian"},
        {"op": "noise"},
        {"op": "smooth-init"},
        {"op": "defective", "mode": "channel", "after": "norm", "value": 0.3},
    ],
    ids=lambda o: "-".join(str(v) for v in o.values()),
)
def test_folding_gives_the_stock_class_names_shapes_and_outputs(tiny, images, operation):
    cut = surgeon.apply(tiny, operation, input_size=SIZE)
    with torch.no_grad():
        cut.train()
        for _ in range(3):
            cut(torch.randn(16, *SIZE))
    cut.double().eval()
    folded = surgeon.fold(cut)
    assert type(folded) is type(tiny)
    assert {k: v.shape for k, v in folded.state_dict().items()} == {
        k: v.shape for k, v in tiny.state_dict().items()
    }
    assert list(folded.state_dict()) == list(tiny.state_dict())
    x = images.double()
    assert relative(folded(x), cut(x)) < 1e-12
    assert [type(m) for m in folded.modules()] == [type(m) for m in tiny.modules()]


def test_a_blended_pooling_folds_at_any_share(tiny, images):
    cut = surgeon.apply(tiny, {"op": "kap", "start": "anneal"}, input_size=SIZE).double().eval()
    for share in (0.0, 0.3, 0.75, 1.0):
        for layer in (cut.conv1.kap, cut.conv2.kap):
            layer.set_alpha(share)
        assert relative(surgeon.fold(cut)(images.double()), cut(images.double())) < 1e-7


def test_scaled_standardised_convolutions_fold_through_their_gain():
    model = timm.create_model("nf_resnet50", num_classes=4)
    cut = surgeon.apply(model, {"op": "kap", "start": "naive"}, input_size=(3, 64, 64)).double().eval()
    folded = surgeon.fold(cut)
    x = torch.randn(2, 3, 64, 64).double()
    assert relative(folded(x), cut(x)) < 1e-6
    assert {k: v.shape for k, v in folded.state_dict().items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }


def test_transposed_convolutions_fold():
    class Up(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(3, 16, 2, stride=2)
            self.conv = nn.Conv2d(16, 4, 1)

        def forward(self, x):
            return self.conv(self.up(x))

    for start in ("naive", "lstsq"):
        cut = surgeon.apply(Up(), {"op": "kap", "start": start}, input_size=SIZE).double()
        x = torch.randn(2, *SIZE).double()
        assert relative(surgeon.fold(cut)(x), cut(x)) < 1e-6


def test_what_does_not_fold_is_said_edit_by_edit(tiny):
    with pytest.raises(
        FoldError,
        match=r"2 of 3 edits do not fold: kap at conv1, conv2: kernel max pooling is not linear",
    ):
        surgeon.fold(surgeon.apply(tiny, "kmp", input_size=SIZE))
    with pytest.raises(
        FoldError, match=r"weight-map at conv1, conv2: a weight map has other weights at each pixel"
    ):
        surgeon.fold(surgeon.apply(tiny, "wm-smoothing-all", input_size=SIZE))
    with pytest.raises(FoldError, match=r"defective at bn1, bn2: a mask over single neurons"):
        surgeon.fold(surgeon.apply(tiny, "defective", input_size=SIZE))


def test_where_no_edit_folds_partial_is_not_advised_and_changes_nothing(tiny):
    cut = surgeon.apply(tiny, "wm-smoothing-all", input_size=SIZE)
    with pytest.raises(FoldError, match=r"(\d+) of \1 edits do not fold") as caught:
        surgeon.fold(cut)
    assert "partial" not in str(caught.value)
    assert surgeon.fold(cut, partial=True).surgery.edits == cut.surgery.edits
    with pytest.raises(FoldError, match="2 of 3 .*partial=True folds the others"):
        surgeon.fold(surgeon.apply(tiny, "kmp", input_size=SIZE))


def test_partial_folding_folds_the_rest(tiny, images):
    cut = surgeon.apply(tiny, "kap+defective", input_size=SIZE).eval()
    part = surgeon.fold(cut, partial=True)
    assert {e.operation for e in part.surgery.edits} == {"defective"}
    assert not hasattr(part.conv1, "kap")
    assert relative(part.eval()(images), cut(images)) < 1e-5
    assert torch.equal(surgeon.revert(cut)(images), tiny(images))


def test_grouped_convolutions_do_not_fold_and_the_plan_says_so():
    model = timm.create_model("mobilenetv2_100", num_classes=4)
    plan = surgeon.plan(model, "kap", input_size=(3, 64, 64))
    assert "A·W mixes its" in next(n.text for n in plan.notes if n.code == "does-not-fold")
    dense = surgeon.plan(model, {"op": "kap", "select": {"groups": "1"}}, input_size=(3, 64, 64))
    assert dense.folds


@pytest.mark.parametrize(
    "recipe",
    [
        "kap",
        "kap-ensemble",
        "kmp",
        "noise",
        "smooth-init",
        "wm-unsharp-all",
        "wm-input-scale",
        "anl",
        "defective",
        "kap+anl+defective",
    ],
)
def test_reverting_gives_the_original_bit_for_bit(tiny, images, recipe):
    cut = surgeon.apply(tiny, recipe, input_size=SIZE)
    back = surgeon.revert(cut)
    assert type(back) is type(tiny)
    assert list(back.state_dict()) == list(tiny.state_dict())
    assert all(torch.equal(v, tiny.state_dict()[k]) for k, v in back.state_dict().items())
    assert torch.equal(back(images), tiny(images))
    assert back.act1.inplace


@pytest.mark.parametrize("name", ["mobilenetv2_100", "densenet121"])
def test_fused_norms_are_closed_again(name):
    model = timm.create_model(name, num_classes=4).eval()
    cut = surgeon.apply(model, "anl", input_size=(3, 64, 64)).eval()
    assert any(type(m) is nn.BatchNorm2d for m in cut.modules())
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(cut(x), model(x))
    for back in (surgeon.revert(cut), surgeon.fold(cut)):
        assert [type(m) for m in back.modules()] == [type(m) for m in model.modules()]
        assert torch.equal(back(x), model(x))


def test_the_layer_stands_between_norm_and_activation_of_a_fused_module():
    model = timm.create_model("mobilenetv2_100", num_classes=4)
    cut = surgeon.apply(model, "gaussian", input_size=(3, 64, 64))
    names = [n.target for n in cut.graph.nodes if n.op == "call_module"]
    at = names.index("bn1.gaussian")
    assert names[at - 1 : at + 3] == ["bn1", "bn1.gaussian", "bn1.drop", "bn1.act"] or names[at - 1] == "bn1"
    before, layer, after = names.index("bn1"), at, names.index("bn1.act")
    assert before < layer < after


def test_reverting_keeps_training_that_lay_beside_the_cut(tiny):
    cut = surgeon.apply(tiny, "wm-smoothing-all", input_size=SIZE).train()
    with torch.no_grad():
        cut.head.weight.add_(1)
    back = surgeon.revert(cut)
    assert torch.equal(back.head.weight, tiny.head.weight + 1)
    assert torch.equal(back.conv1.weight, tiny.conv1.weight)


def test_statistics_come_back_too(tiny):
    cut = surgeon.apply(
        tiny, "kap", input_size=SIZE, calibration=torch.randn(64, *SIZE), warm_start="sequential"
    )
    assert not torch.equal(cut.bn2.running_var, tiny.bn2.running_var)
    assert torch.equal(surgeon.revert(cut).bn2.running_var, tiny.bn2.running_var)


def test_a_stock_network_has_nothing_to_fold_or_revert(tiny):
    with pytest.raises(SurgeryError, match="nothing to fold: this Tiny has had no surgery"):
        surgeon.fold(tiny)
    with pytest.raises(SurgeryError, match="nothing to revert"):
        surgeon.revert(tiny)


def test_folding_leaves_the_rewritten_network_alone(tiny, images):
    cut = surgeon.apply(tiny, {"op": "kap", "pre_norm": True, "start": "naive"}, input_size=SIZE).eval()
    before = cut(images)
    surgeon.fold(cut)
    surgeon.revert(cut)
    assert torch.equal(cut(images), before)


@pytest.mark.parametrize("recipe", ["kap", "smooth-init", "kap-ensemble"])
def test_what_lies_in_channels_last_stays_so(recipe):
    def elsewhere(model):
        return [
            n
            for n, p in model.named_parameters()
            if p.dim() == 4 and p.shape[-1] > 1 and not p.is_contiguous(memory_format=torch.channels_last)
        ]

    stock = timm.create_model("resnet18").to(memory_format=torch.channels_last)
    cut = surgeon.apply(stock, recipe, input_size=(3, 64, 64))
    assert elsewhere(cut) == [] and elsewhere(surgeon.fold(cut)) == []


@pytest.mark.parametrize(
    "wrap, path",
    [
        (torch.optim.swa_utils.AveragedModel, "model.module"),
        (nn.DataParallel, "model.module"),
        (lambda m: torch.compile(m, backend="eager"), "model._orig_mod"),
        (lambda m: nn.Sequential(nn.Identity(), m), "model[1]"),
    ],
    ids=["averaged", "parallel", "compiled", "sequential"],
)
def test_a_wrapper_says_where_the_network_is_that_folds(tiny, wrap, path):
    model = wrap(surgeon.apply(tiny, "kap", input_size=SIZE))
    for verb in ("fold", "revert"):
        with pytest.raises(SurgeryError, match=re.escape(f"the network in it has: surgeon.{verb}({path})")):
            getattr(surgeon, verb)(model)
    assert type(surgeon.fold(eval(path))) is type(tiny)


def test_a_pooling_behind_a_module_that_was_exchanged_says_why_it_does_not_fold():
    """`apply kap+wm-unsharp` ended in an AttributeError: the weight map has no kernels to pool."""
    network = surgeon.create_model("zoo/shallow2")
    cut = surgeon.apply(network, ["kap", "wm-unsharp"], input_size=(3, 16, 16))
    both = {e.site for e in cut.surgery.edits if e.replaces}
    assert both & {e.site for e in cut.surgery.edits if e.operation == "kap"}
    with pytest.raises(FoldError, match="weight-map has the place of its module, and does not fold"):
        surgeon.fold(cut)
    assert all(c.ok is not False for c in surgeon.verify(network, cut))
    x = torch.rand(2, 3, 16, 16)
    partly = surgeon.fold(cut.eval(), partial=True).eval()
    torch.testing.assert_close(partly.double()(x.double()), cut.double()(x.double()), rtol=1e-6, atol=1e-6)


FIRST = ["kap", "kmp", "defective", "defective-channel", "noise", "advprop", "wm-smoothing"]
SECOND = ["kap-gaussian", "kap-1d", "defective-channel", "anl"]
WIDE = {"op": "kap", "stride": 3, "start": "replicate"}


@pytest.fixture(scope="module")
def plain():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.Flatten(),
        nn.Linear(16 * 64, 3),
    )
    network[1].running_var.uniform_(0.5, 2)
    return network.double().eval()


@pytest.mark.parametrize("fitted", [False, True], ids=["naive", "fitted"])
@pytest.mark.parametrize("first", [*FIRST, WIDE], ids=str)
def test_layers_of_one_site_fold_in_the_order_in_which_they_are_called(plain, first, fitted):
    x = torch.rand(16, 2, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    merged = 0
    for second in SECOND:
        given = {"calibration": x} if fitted and first is not WIDE else {}
        network = surgeon.apply(plain, [first, second], input_size=(2, 8, 8), **given).eval()
        for partial in (True, *([False] if network.surgery.folds else [])):
            merged += 1
            folded = surgeon.fold(network, partial=partial).eval()
            assert relative(folded(x), network(x)) < 1e-10, (second, partial)
    assert merged >= len(SECOND)


def test_a_layer_behind_one_that_does_not_fold_says_so(plain):
    network = surgeon.apply(plain, ["kmp", "kap"], input_size=(2, 8, 8))
    with pytest.raises(FoldError, match="kap#2 at 0, 3: kap stands between it and its module, and does"):
        surgeon.fold(network)


def test_what_a_partial_fold_merged_is_told_and_reverting_tells_that_it_stays(plain, tmp_path):
    cut = surgeon.apply(plain, ["kap", "kmp"], input_size=(2, 8, 8))
    partly = surgeon.fold(cut, partial=True)
    (note,) = (n for n in partly.surgery.notes if n.code == "folded")
    assert note.severity == "warning" and note.text.startswith(
        "folded in, and part of the network now: 2 × kap;"
    )
    with pytest.warns(surgeon.errors.SurgeryWarning, match="part of the network now: 2 × kap;"):
        back = surgeon.revert(partly)
    x = torch.rand(2, 2, 8, 8).double()
    assert relative(back(x), plain(x)) > 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(surgeon.revert(cut)(x), plain(x))
        noisy = surgeon.apply(plain, ["anl", "kmp"], input_size=(2, 8, 8))  # noise is left out, not merged
        assert torch.equal(surgeon.revert(surgeon.fold(noisy, partial=True))(x), plain(x))


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("second", ["anl", "kmp", "noise"])
def test_what_a_partial_fold_merged_stays_beside_another_layer_at_its_site_too(
    plain, second, calibrated, tmp_path
):
    """The stock network's weights and statistics do not come back in parts; a folder gives the same."""
    x = torch.rand(16, 2, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    given = {"calibration": x} if calibrated else {}
    alone = surgeon.fold(surgeon.apply(plain, "kap", input_size=(2, 8, 8), trained=True, **given).eval())
    kwta = {"op": "kwta"}
    cut = surgeon.apply(plain, "kap", input_size=(2, 8, 8), trained=True, **given)
    cut = surgeon.apply(cut, [second, kwta], input_size=(2, 8, 8), trained=True, stack=True).eval()
    partly = surgeon.fold(cut, partial=True).eval()
    with pytest.warns(surgeon.errors.SurgeryWarning, match="part of the network now: 2 × kap;"):
        back = surgeon.revert(partly)
    assert relative(back(x), alone(x)) < 1e-10
    surgeon.save(partly, tmp_path / "partly")
    with pytest.warns(surgeon.errors.SurgeryWarning, match="part of the network now"):
        again = surgeon.revert(surgeon.load(tmp_path / "partly", model=plain))
    assert relative(again.double()(x), alone(x)) < 1e-10
