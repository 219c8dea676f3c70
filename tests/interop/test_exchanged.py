"""Modules that other code exchanges or wraps after the cut: the layers stay at their sites, or an error says
what works."""

import copy
import pickle

import pytest
import timm
import torch
from timm.utils import reparameterize_model
from torch import nn

import surgeon
from surgeon.errors import FoldError, SurgeryError
from surgeon.surgery.door import findings
from tests.interop.conftest import SIZE


class LoRA(nn.Module):
    """A low-rank side path around a convolution, which shows the weight of what it wraps, as PEFT's do."""

    def __init__(self, base):
        super().__init__()
        self.base_layer = base
        size = dict(kernel_size=base.kernel_size, stride=base.stride, padding=base.padding)
        self.down = nn.Conv2d(base.in_channels, 2, bias=False, **size)
        self.up = nn.Conv2d(2, base.out_channels, 1, bias=False)

    weight = property(lambda self: self.base_layer.weight)
    bias = property(lambda self: self.base_layer.bias)

    def forward(self, x):
        return self.base_layer(x) + self.up(self.down(x))

    def merged(self):
        with torch.no_grad():
            self.base_layer.weight += torch.einsum(
                "or,rikl->oikl", self.up.weight[:, :, 0, 0], self.down.weight
            )
        return self.base_layer


def put(model, site, module):
    owner, _, leaf = site.rpartition(".")
    setattr(model.get_submodule(owner), leaf, module)


def site_of(model):
    return next(e.site for e in model.surgery.edits if e.site.startswith("layer2"))


def test_lora_around_a_pooled_convolution_trains_merges_and_folds(cut, batch):
    model = cut("kap").double()
    x, labels = batch[0].double(), batch[1]
    site = site_of(model)
    names = set(model.state_dict())
    put(model, site, LoRA(model.get_submodule(site)).double())
    own = {n for n, _ in model.named_parameters()}
    assert f"{site}.up.weight" in own
    assert sum(n.endswith("kap.alpha") for n in model.state_dict()) == sum(
        n.endswith("kap.alpha") for n in names
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    before = model.get_submodule(site).up.weight.clone()
    nn.functional.cross_entropy(model.train()(x), labels).backward()
    optimizer.step()
    model.eval()
    lora = model.get_submodule(site)
    assert not torch.equal(lora.up.weight, before)

    # the layer stands behind both paths: KAP(W x + U D x)
    heard = {}
    hooks = [
        lora.register_forward_hook(lambda m, i, o: heard.update(inner=i[0], sum=o)),
        lora.kap.register_forward_hook(lambda m, i, o: heard.update(pooled=o)),
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    whole = lora.base_layer.weight + torch.einsum(
        "or,rikl->oikl", lora.up.weight[:, :, 0, 0], lora.down.weight
    )
    base = lora.base_layer
    reference = nn.functional.conv2d(heard["inner"], whole, base.bias, base.stride, base.padding)
    torch.testing.assert_close(heard["sum"], reference, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(
        heard["pooled"], torch.einsum("oc,ncij->noij", lora.kap.matrix(), reference), rtol=1e-9, atol=1e-10
    )

    outputs = model(x)
    with pytest.raises(FoldError, match=f"{site} the surgery left Conv2d.*LoRA stands there now: merge"):
        surgeon.fold(model)
    with pytest.raises(SurgeryError, match=r"cannot be reverted: .*LoRA"):
        surgeon.revert(model)
    assert [f.site for f in findings(model)] == [site]
    put(model, site, lora.merged())
    assert set(model.state_dict()) == names and not findings(model)
    torch.testing.assert_close(model(x), outputs, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(surgeon.fold(model)(x), outputs, rtol=1e-9, atol=1e-10)


def test_pefts_own_lora_trains_merges_and_folds(cut, batch):
    peft = pytest.importorskip("peft")
    model, x = cut("kap").double(), batch[0].double()
    outputs = model(x)
    config = peft.LoraConfig(target_modules=r"layer\d\.0\.conv\d", r=2)
    wrapped = peft.get_peft_model(model, config).double().eval()
    torch.testing.assert_close(wrapped(x), outputs)
    optimizer = torch.optim.SGD([p for p in wrapped.parameters() if p.requires_grad], lr=0.01)
    wrapped.train()(x).square().sum().backward()
    optimizer.step()
    trained = wrapped.eval()(x)
    assert not torch.allclose(trained, outputs)
    with pytest.raises(FoldError, match=r"peft\.\S+ stands there now: merge or unload"):
        surgeon.fold(model)
    merged = wrapped.merge_and_unload()
    torch.testing.assert_close(merged(x), trained)
    torch.testing.assert_close(surgeon.fold(merged)(x), trained)


def test_a_wrapped_site_is_not_saved_under_a_name_that_would_not_load(cut, tmp_path):
    model = cut("kap")
    put(model, site_of(model), LoRA(model.get_submodule(site_of(model))))
    with pytest.raises(SurgeryError, match=r"cannot be saved: .*LoRA"):
        surgeon.save(model, tmp_path / "lora")
    assert not (tmp_path / "lora").exists()


def test_weights_in_place_of_a_wrapped_weight_map(cut, batch):
    model = cut("wm-unsharp")
    site = model.surgery.edits[0].site

    class Twice(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return 2 * self.inner(x)

    put(model, site, Twice(model.get_submodule(site)))
    assert model(batch[0]).isfinite().all()
    assert findings(model)[0].found.endswith(".Twice")
    with pytest.raises(SurgeryError, match=r"cannot be reverted.*Twice"):
        surgeon.revert(model)


LOOKS = {
    "a call": lambda m, x: m(x),
    "deepcopy": lambda m, x: copy.deepcopy(m),
    "pickle": lambda m, x: pickle.loads(pickle.dumps(m)),
    "to": lambda m, x: m.to(torch.float64).to(torch.float32),
    "state_dict": lambda m, x: m.load_state_dict(m.state_dict()),
    "train": lambda m, x: m.train().eval(),
    "compile": lambda m, x: torch.compile(m, backend="eager", fullgraph=True)(x),
    "export": lambda m, x: torch.export.export(m, (x,)),
    "jit": lambda m, x: torch.jit.trace(m, x, check_trace=False),
}


@pytest.mark.parametrize("look", LOOKS)
def test_whatever_looks_first_finds_the_layers(cut, batch, look):
    model = cut("kap")
    outputs, names = model(batch[0]), set(model.state_dict())
    for site in [e.site for e in model.surgery.edits if e.layer and e.site != "input"]:
        owner, _, leaf = site.rpartition(".")
        parent = model if not owner else nn.Module.get_submodule(model, owner)
        old = parent._modules[leaf]
        new = nn.Conv2d(
            old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=False
        )
        new.weight = old.weight
        parent._modules[leaf] = new
    found = LOOKS[look](model, batch[0])
    for one in (model, found):
        if isinstance(one, surgeon.graph.rewritten.network.Rewritten):
            torch.testing.assert_close(one.eval()(batch[0]), outputs)
            assert set(one.state_dict()) == names


def test_a_copy_in_the_modules_place_brings_its_own_layer(cut, batch):
    model = cut("kap")
    site = site_of(model)
    twin = copy.deepcopy(model.get_submodule(site))
    put(model, site, twin)
    model(batch[0])
    assert model.get_submodule(site).kap is twin._modules["kap"]


@pytest.mark.parametrize("recipe", ["kap", "anl"])
def test_reparameterising_after_the_cut_says_which_order_works(batch, recipe):
    stock = timm.create_model("repvgg_a0", num_classes=4).eval()
    model = surgeon.apply(stock, recipe, input_size=SIZE).eval()
    with pytest.raises(
        SurgeryError,
        match=r"stem\.conv_\w+\.conv is gone \(at stem stands RepVggBlock\).*before surgeon.apply, or after",
    ):
        reparameterize_model(model)(batch[0])
    outputs = model(batch[0])
    torch.testing.assert_close(
        reparameterize_model(surgeon.fold(model))(batch[0]), outputs, rtol=1e-3, atol=1e-4
    )


def test_a_block_that_is_gone_is_named(cut, batch):
    model = cut("anl")
    model.layer4 = nn.Sequential(nn.Identity())
    with pytest.raises(SurgeryError, match=r"layer4\.0\.conv1 is gone \(at layer4\.0 stands Identity\)"):
        model(batch[0])


def test_another_number_of_channels_is_told(cut, batch):
    model = cut("kap")
    site = site_of(model)
    old = model.get_submodule(site)
    put(model, site, nn.Conv2d(old.in_channels, old.out_channels + 8, 3, stride=old.stride, padding=1))
    with pytest.raises(
        surgeon.errors.LayerError, match=f"pools {old.out_channels} channels, got an input of shape"
    ):
        model(batch[0])
    assert findings(model)[0].site == site


@pytest.mark.parametrize("recipe", ["kap", "wm-unsharp", "wm-smoothing", "small-image"])
def test_the_classifier_is_exchanged(cut, batch, recipe):
    model = cut(recipe)
    model.fc = nn.Linear(model.fc.in_features, 7)
    assert model(batch[0]).shape == (8, 7)
    model.reset_classifier(3)
    assert model(batch[0]).shape == (8, 3)


def test_an_exchanged_classifier_is_folded(cut, batch):
    model = cut("kap")
    model.reset_classifier(3)
    assert surgeon.fold(model)(batch[0]).shape == (8, 3)


class Through(nn.Module):
    """A module that goes through its children, as a Sequential does."""

    def __init__(self, *inner):
        super().__init__()
        self.inner, self.after = inner

    def forward(self, x):
        for child in self.children():
            x = child(x)
        return x


@pytest.mark.parametrize("wrapper", [nn.Sequential, Through])
@pytest.mark.parametrize(
    ("recipe", "site"), [("kap", "layer2.0.conv1"), ("anl", "layer1.0.bn1"), ("defective", "")]
)
def test_a_wrapper_that_calls_its_children_is_refused_for_a_site(cut, batch, recipe, site, wrapper):
    model = cut(recipe)
    outputs, names = model(batch[0]), set(model.state_dict())
    site = site or next(e.site for e in model.surgery.edits if e.layer)
    old = model.get_submodule(site)
    put(model, site, wrapper(old, nn.Dropout2d(0.1)))
    list(model.named_modules())
    match = (
        f"{site}: {wrapper.__name__}, which .* would run twice: .*before surgeon.apply, or after surgeon.fold"
    )
    with pytest.raises(SurgeryError, match=match):
        model(batch[0])
    with pytest.raises(SurgeryError, match=match):
        surgeon.fold(model)
    put(model, site, old)
    assert torch.equal(model(batch[0]), outputs) and set(model.state_dict()) == names


def test_a_wrapper_within_which_the_sequential_stands_works_as_the_refusal_says(cut, batch):
    model = cut("kap")
    outputs = model(batch[0])

    class Wrapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x)

    put(
        model,
        site_of(model),
        Wrapped(nn.Sequential(model.get_submodule(site_of(model)), nn.Dropout2d(0.1).eval())),
    )
    torch.testing.assert_close(model(batch[0]), outputs)


@pytest.mark.parametrize(
    ("recipe", "site"),
    [
        ("kap", "layer1.0.conv1"),
        ("anl", "layer1.0.bn1"),
        ("defective", ""),
        ("gaussian", "layer1.0.bn1"),
        ("wm-unsharp", ""),
    ],
)
def test_a_compiled_module_at_a_site_keeps_its_layer(cut, batch, recipe, site):
    model = cut(recipe)
    outputs = model(batch[0])
    site = site or model.surgery.edits[-1].site
    put(model, site, torch.compile(model.get_submodule(site), backend="eager"))
    torch.testing.assert_close(model(batch[0]), outputs)
    for twin in (copy.deepcopy(model), model.to(torch.float64).to(torch.float32)):
        torch.testing.assert_close(twin(batch[0]), outputs)
    layer = next((e.layer for e in model.surgery.edits if e.site == site), None)
    assert layer is None or any(n.endswith(layer.rpartition(".")[2]) for n, _ in model.named_modules())
    put(model, site, model.get_submodule(site)._orig_mod)
    torch.testing.assert_close(surgeon.revert(model)(batch[0]), surgeon.revert(cut(recipe))(batch[0]))


@pytest.mark.parametrize("recipe", ["kap", "wm-unsharp"])
def test_a_compiled_block_keeps_the_surgery(cut, batch, recipe):
    model = cut(recipe)
    outputs = model(batch[0])
    model.layer1[0] = torch.compile(model.layer1[0], backend="eager")
    torch.testing.assert_close(model(batch[0]), outputs)


def test_folding_says_which_site_is_gone_with_its_stage(cut):
    model = cut("wm-unsharp")
    model.layer4 = nn.Identity()
    with pytest.raises(
        SurgeryError, match=r"cannot be folded: at layer4\.0\.conv2 .* nothing stands there now"
    ):
        surgeon.fold(model)
