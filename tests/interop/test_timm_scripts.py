"""What timm's train.py and validate.py do, by the same parts of timm; the scripts themselves are in no wheel."""

import argparse

import pytest
import timm
import torch
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.models import load_checkpoint, model_parameters, resume_checkpoint
from timm.optim import create_optimizer_v2, param_groups_layer_decay
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, CheckpointSaver, ModelEmaV3, NativeScaler, accuracy

import surgeon
from tests.interop.conftest import SIZE


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of eight pictures in two classes."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(8):
        (folder / str(number % 2)).mkdir(exist_ok=True)
        image.new("RGB", (40, 40), (30 * number, 255 - 30 * number, 90)).save(
            folder / str(number % 2) / f"{number}.png"
        )
    return folder


def loader(folder, model, training):
    config = resolve_data_config({"input_size": SIZE, "crop_pct": 1.0}, model=model)
    return create_loader(
        create_dataset("", root=str(folder)),
        input_size=SIZE,
        batch_size=4,
        is_training=training,
        num_workers=0,
        use_prefetcher=False,
        mean=config["mean"],
        std=config["std"],
        crop_pct=1.0,
        device=torch.device("cpu"),
    )


def train(model, folder, work, epochs=1, resume=None):
    """train.py in short: loader, optimizer, scaler, average, saver, one or more epochs; the checkpoint's path."""
    optimizer = create_optimizer_v2(model, opt="sgd", lr=1e-3, weight_decay=1e-4, momentum=0.9)
    scaler, average = NativeScaler(device="cpu"), ModelEmaV3(model, decay=0.9)
    start = resume_checkpoint(model, resume, optimizer, scaler, log_info=False) if resume else 0
    scheduler, _ = create_scheduler_v2(optimizer, sched="cosine", num_epochs=epochs)
    saver = CheckpointSaver(
        model,
        optimizer,
        args=argparse.Namespace(model="test_resnet"),
        model_ema=average,
        amp_scaler=scaler,
        checkpoint_dir=str(work),
        recovery_dir=str(work),
    )
    loss_fn, losses = LabelSmoothingCrossEntropy(0.1), AverageMeter()
    batches = loader(folder, model, True)
    for epoch in range(start or 0, epochs):
        model.train()
        for x, y in batches:
            loss = loss_fn(model(x), y)
            scaler(loss, optimizer, clip_grad=1.0, parameters=model_parameters(model))
            optimizer.zero_grad()
            average.update(model)
            losses.update(loss.item(), len(x))
        scheduler.step(epoch + 1, losses.avg)
        saver.save_checkpoint(epoch, metric=losses.avg)
    assert losses.avg > 0
    return work / "last.pth.tar", average


def validate(model, folder):
    """validate.py in short: the accuracy."""
    top = AverageMeter()
    with torch.inference_mode():
        for x, y in loader(folder, model, False):
            top.update(accuracy(model.eval()(x), y, topk=(1,))[0].item(), len(x))
    assert top.count == 8
    return top.avg


def test_train_and_resume(model, stock, pictures, tmp_path):
    checkpoint, average = train(model, pictures, tmp_path)
    other = surgeon.apply(stock, model.surgery.recipe, input_size=SIZE, seed=1)
    assert resume_checkpoint(other, str(checkpoint), log_info=False) == 1
    x = torch.randn(2, *SIZE)
    assert torch.equal(other.eval()(x), model.eval()(x))
    load_checkpoint(other, str(checkpoint), use_ema=True)
    assert torch.equal(other.eval()(x), average.module.eval()(x))
    assert not torch.equal(other(x), model(x))
    train(other, pictures, tmp_path, epochs=2, resume=str(checkpoint))


@pytest.mark.parametrize("recipe", ["kap", "anl"])
def test_a_folded_network_is_trained_on_and_validated_as_stock(cut, pictures, tmp_path, recipe):
    network = cut(recipe)
    surgeon.save(surgeon.fold(network), tmp_path / "stock", model_args={})
    stock = timm.create_model(f"local-dir:{tmp_path / 'stock'}", pretrained=True)
    assert type(stock) is timm.models.resnet.ResNet
    assert validate(stock, pictures) == validate(network, pictures)
    checkpoint, _ = train(stock, pictures, tmp_path)
    again = timm.create_model("test_resnet", num_classes=4, checkpoint_path=str(checkpoint))  # as validate.py
    x = torch.randn(2, *SIZE)
    assert not torch.equal(again.eval()(x), stock.eval()(x))  # timm takes the average where there is one
    load_checkpoint(again, str(checkpoint), use_ema=False)
    assert torch.equal(again(x), stock(x))


@pytest.mark.parametrize("recipe", ["kap", "anl"])
def test_weights_from_before_the_cut_and_folded_ones_load_by_checkpoint_path(cut, tmp_path, recipe):
    network = cut(recipe)
    surgeon.save(surgeon.fold(network), tmp_path / "stock")
    weights = tmp_path / "stock" / "model.safetensors"
    plain = timm.create_model("test_resnet", num_classes=4, checkpoint_path=str(weights)).eval()
    x = torch.randn(2, *SIZE)
    assert torch.allclose(plain(x), network(x), rtol=1e-4, atol=1e-5)


def test_the_average_of_the_weights(model, batch):
    average = ModelEmaV3(model, decay=0.5)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    average.update(model)
    assert torch.allclose(average.module.fc.bias, model.fc.bias - 0.5)
    assert average.module.surgery == model.surgery
    assert average.module.eval()(batch[0]).shape == (8, 4)


def test_layer_decay_groups_as_for_the_stock_network(stock, model):
    ours, theirs = (create_optimizer_v2(m, opt="adamw", lr=1e-3, layer_decay=0.7) for m in (model, stock))
    assert [g["lr_scale"] for g in ours.param_groups] == [g["lr_scale"] for g in theirs.param_groups]
    assert [len(g["params"]) for g in ours.param_groups] == [len(g["params"]) for g in theirs.param_groups]


def test_layer_decay_has_each_parameter_once_where_the_surgery_added_some(cut):
    model = cut("wm-input-scale")
    groups = param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.7)
    found = [id(p) for g in groups for p in g["params"]]
    assert sorted(found) == sorted(id(p) for p in model.parameters())


def test_freezing_by_names(model):
    from timm.utils import freeze

    freeze(model, "layer1")
    assert not any(p.requires_grad for p in model.layer1.parameters())
    assert any(p.requires_grad for p in model.layer2.parameters())
