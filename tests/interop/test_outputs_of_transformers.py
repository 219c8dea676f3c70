"""transformers' networks: outputs of their classes, losses, its Trainer, its folders. Made from
configurations, without weights."""

import copy
import warnings

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError

SIZE = (3, 32, 32)
_BACKBONE = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "num_labels": 3}
_TOKENS = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 3,
}
NETWORKS = {
    "ResNet": {**_BACKBONE, "layer_type": "basic"},
    "RegNet": {**_BACKBONE, "groups_width": 4},
    "ConvNext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "num_labels": 3},
    "ViT": _TOKENS,
    "DeiT": _TOKENS,
    "MobileNetV2": {"depth_multiplier": 0.35, "num_labels": 3, "image_size": 32},
    "Swin": {
        "image_size": 32,
        "patch_size": 2,
        "embed_dim": 16,
        "depths": [1, 1],
        "num_heads": [2, 2],
        "window_size": 4,
        "num_labels": 3,
    },
    "TimmWrapper": {"architecture": "test_resnet", "num_labels": 3},
}


@pytest.fixture(scope="module")
def hf():
    return pytest.importorskip("transformers")


@pytest.fixture
def network(hf):
    def make(name):
        torch.manual_seed(0)
        made = getattr(hf, f"{name}ForImageClassification")(getattr(hf, f"{name}Config")(**NETWORKS[name]))
        return made.eval().double()

    return make


@pytest.fixture
def batch():
    return torch.randn(4, *SIZE, dtype=torch.double), torch.tensor([0, 1, 2, 1])


def alike(new, old):
    assert type(new) is type(old) and list(new) == list(old)
    for key in old:
        assert torch.allclose(new[key], old[key], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_of_the_stock_networks_class(network, batch, name):
    model, (x, y) = network(name), batch
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    assert isinstance(cut, type(model)) and any(e.site != "input" for e in cut.surgery.edits)
    with torch.no_grad():
        for given in ({"pixel_values": x}, {"pixel_values": x, "labels": y}):
            new, old = cut(**given), model(**given)
            alike(new, old)
            assert torch.equal(new.logits, new["logits"]) and torch.equal(new[0], list(new.values())[0])
        assert torch.equal(cut(x).logits, cut(pixel_values=x).logits)
        if name in (
            "ViT",
            "DeiT",
        ):  # leave out what is None of what another part gives, which a graph does not know
            with pytest.raises(
                SurgeryError, match="with return_dict gives more, or less, than a graph shows"
            ):
                cut(x, return_dict=False)
            return
        new, old = cut(x, return_dict=False), model(x, return_dict=False)
        assert type(new) is type(old) is tuple and len(new) == len(old) and torch.allclose(new[0], old[0])


@pytest.mark.parametrize("recipe", ["kap", "anl", "defective", "wm-unsharp"])
def test_a_resnet_with_each_method_gives_losses_and_gradients(network, batch, recipe):
    x, y = batch
    cut = surgeon.apply(network("ResNet"), recipe, input_size=SIZE).train()
    out = cut(pixel_values=x, labels=y)
    assert torch.allclose(out.loss, nn.functional.cross_entropy(out.logits, y))
    out.loss.backward()
    assert all(p.grad is not None for p in cut.parameters() if p.requires_grad)


def test_hidden_states_are_given_on_demand(network, batch):
    model, (x, _) = network("ResNet"), batch
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    new, old = cut(x, output_hidden_states=True), model(x, output_hidden_states=True)
    assert len(new.hidden_states) == len(old.hidden_states) == 3
    assert all(torch.allclose(a, b) for a, b in zip(new.hidden_states, old.hidden_states, strict=True))


@pytest.mark.parametrize("name", ["ViT", "DeiT", "ConvNext"])
def test_hidden_states_that_only_hooks_collect_are_refused(network, batch, name):
    cut = surgeon.apply(network(name), "noise", input_size=SIZE).eval()
    with pytest.raises(
        SurgeryError, match=r"with output_hidden_states .*under hooks.*leave output_hidden_states out"
    ):
        cut(batch[0], output_hidden_states=True)


class _Images(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        x = torch.randn(SIZE, generator=torch.Generator().manual_seed(i))
        return {"pixel_values": x, "labels": torch.tensor(i % 3)}


def _trainer(hf, model, folder, steps):
    pytest.importorskip("accelerate")
    arguments = hf.TrainingArguments(
        str(folder),
        max_steps=steps,
        lr_scheduler_type="constant",
        per_device_train_batch_size=4,
        save_strategy="steps",
        save_steps=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        seed=3,
    )
    return hf.Trainer(model=model, args=arguments, train_dataset=_Images(), eval_dataset=_Images())


@pytest.mark.parametrize("recipe", ["kap", "anl", "defective"])
def test_the_trainer_trains_writes_and_goes_on(hf, network, tmp_path, recipe):
    cut = surgeon.apply(network("ResNet").float(), recipe, input_size=SIZE)
    other = copy.deepcopy(cut)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = _trainer(hf, cut, tmp_path / "whole", 2)
        whole.train()
        _trainer(hf, other, tmp_path / "half", 1).train()
        again = _trainer(hf, copy.deepcopy(other), tmp_path / "half", 2)
        again.train(resume_from_checkpoint=str(tmp_path / "half" / "checkpoint-1"))
        assert "eval_loss" in whole.evaluate() and whole.predict(_Images()).predictions.shape == (8, 3)
    for key, value in whole.model.state_dict().items():
        assert torch.allclose(again.model.state_dict()[key].double(), value.double(), rtol=1e-4, atol=1e-6), (
            key
        )
    for kind in (hf.ResNetForImageClassification, hf.AutoModelForImageClassification):
        with pytest.raises(Exception, match="surgeon: a rewritten"):
            kind.from_pretrained(tmp_path / "whole" / "checkpoint-2")


def test_what_is_folded_is_saved_and_read_as_a_stock_network_and_the_rest_says_what_to_do(
    hf, network, batch, tmp_path
):
    x, _ = batch
    cut = surgeon.apply(network("ResNet").float(), {"op": "kap", "start": "lstsq"}, input_size=SIZE).eval()
    surgeon.fold(cut).save_pretrained(tmp_path / "folded")
    again = hf.ResNetForImageClassification.from_pretrained(tmp_path / "folded").eval()
    assert torch.allclose(again(x.float()).logits, cut(x.float()).logits, atol=1e-4)
    with pytest.warns(
        UserWarning, match=r"weights of a rewritten ResNetForImageClassification alone.*surgeon.save"
    ):
        cut.save_pretrained(tmp_path / "cut")
    with pytest.raises(Exception, match="surgeon: a rewritten ResNetForImageClassification"):
        hf.ResNetForImageClassification.from_pretrained(tmp_path / "cut")
    with pytest.raises(SurgeryError, match=r"config.json of a stock network.*surgeon.fold"):
        cut.save_pretrained(tmp_path / "folded")
    with pytest.raises(SurgeryError, match="is not pushed as a stock one"):
        cut.save_pretrained(tmp_path / "cut", push_to_hub=True)
    with pytest.raises(SurgeryError, match="push_to_hub runs code from before the surgery"):
        cut.push_to_hub("owner/name")
    assert type(cut).from_pretrained(tmp_path / "folded").__class__ is hf.ResNetForImageClassification
