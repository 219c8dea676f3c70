"""transformers: networks of its own, timm's behind its wrapper, its Trainer and its folders."""

import pytest
import torch

import surgeon
from surgeon.errors import FoldError, SelectionError
from tests.clients.conftest import walked

transformers = pytest.importorskip("transformers")

SIZE = (3, 32, 32)


def _stock(name):
    torch.manual_seed(0)
    if name == "timm wrapper":
        config = transformers.TimmWrapperConfig(architecture="test_resnet", num_labels=5, do_pooling=True)
        return transformers.TimmWrapperForImageClassification(config).eval()
    small = {"num_labels": 5, "num_channels": 3, "image_size": 32}
    made = {
        "ResNet": (
            transformers.ResNetForImageClassification,
            transformers.ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **small
            ),
        ),
        "RegNet": (
            transformers.RegNetForImageClassification,
            transformers.RegNetConfig(
                embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=4, **small
            ),
        ),
        "MobileNetV2": (
            transformers.MobileNetV2ForImageClassification,
            transformers.MobileNetV2Config(depth_multiplier=0.25, **small),
        ),
        "ConvNeXt": (
            transformers.ConvNextForImageClassification,
            transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, **small),
        ),
        "Swin": (
            transformers.SwinForImageClassification,
            transformers.SwinConfig(
                embed_dim=16, depths=[1, 1], num_heads=[1, 2], window_size=2, patch_size=4, **small
            ),
        ),
        "ViT": (
            transformers.ViTForImageClassification,
            transformers.ViTConfig(
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                patch_size=8,
                **small,
            ),
        ),
    }
    kind, config = made[name]
    return kind(config).eval()


@pytest.fixture(params=["ResNet", "RegNet", "MobileNetV2", "ViT", "timm wrapper"])
def architecture(request):
    """Networks of transformers, at the smallest size."""
    return request.param


@pytest.fixture
def network(architecture, recipe):
    """Each of them, as it is and cut; those that a method has no place in are passed over."""
    stock = _stock(architecture)
    if architecture == "ViT" and recipe in ("anl", "wm-unsharp"):
        pytest.skip(f"{recipe} has no place in a ViT")
    return stock if recipe == "stock" else surgeon.apply(stock, recipe, input_size=SIZE, seed=1).eval()


def test_outputs(network, images, labels):
    """`.logits`, `[0]`, `labels=` and its loss"""
    with torch.no_grad():
        said, alone = network(images), network(pixel_values=images)
        assert torch.equal(said.logits, alone.logits) and torch.equal(said[0], said.logits)
        loss = network(images, labels=labels)
    assert torch.allclose(loss.loss, torch.nn.functional.cross_entropy(said.logits, labels))
    assert type(said).__name__ == type(loss).__name__ and said.logits.shape == (8, 5)


def test_trainer(network, images, labels, tmp_path):
    """`Trainer.train`: two steps, and its checkpoint"""
    rows = [{"pixel_values": x, "labels": y} for x, y in zip(images, labels, strict=True)]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    before = {k: v.clone() for k, v in network.state_dict().items()}
    transformers.Trainer(model=network, args=arguments, train_dataset=rows).train()
    assert any(not torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_folders(network, recipe, images, tmp_path):
    """`save_pretrained` of what was folded, read by `from_pretrained`"""
    if recipe not in ("stock", "kap", "anl"):
        pytest.skip(f"{recipe} does not fold")
    if recipe != "stock":
        try:
            network = surgeon.fold(network)
        except FoldError:
            pytest.xfail("KAP behind grouped convolutions does not fold")
    network.save_pretrained(tmp_path)
    again = type(network).from_pretrained(tmp_path).eval()
    before = network.state_dict()
    assert before and all(torch.equal(v, before[k]) for k, v in again.state_dict().items())
    with torch.no_grad():
        found, wanted = again(images).logits, network(images).logits
    assert (found - wanted).norm() <= 1e-3 * wanted.norm()


METHODS = {  # edits of each recipe in these networks; 0: no place
    "ResNet": {"kap": 4, "meansparse": 5, "kwta": 5, "squeeze-excite": 5, "parametric-noise": 7, "anl": 6},
    "ConvNeXt": {"kap": 3, "meansparse": 2, "kwta": 2, "squeeze-excite": 3, "parametric-noise": 9, "anl": 5},
    "ViT": {"kap": 2, "meansparse": 1, "kwta": 1, "squeeze-excite": 0, "parametric-noise": 8, "anl": 3},
    "Swin": {"kap": 2, "meansparse": 2, "kwta": 2, "squeeze-excite": 0, "parametric-noise": 15, "anl": 7},
}


@pytest.mark.parametrize("name", METHODS)
def test_methods(name, images, tmp_path):
    """Each method: cut, trained, folded, saved, loaded and taken back, or a reason why it has no place."""
    stock = _stock(name)
    for recipe, edits in METHODS[name].items():
        settings = ["adversarial-noise.norms=any"] if recipe == "anl" else []
        if not edits:
            with pytest.raises(SelectionError, match="none of the 1 conv sites fits"):
                surgeon.plan(stock, recipe, input_size=SIZE)
            continue
        made = walked(stock, recipe, images, tmp_path / recipe, size=SIZE, settings=settings)
        assert len(made.edits) == edits, recipe
