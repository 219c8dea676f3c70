"""A rewritten network in code that knows nothing of surgeon."""

import os
import socket

import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import surgeon

SIZE = (3, 32, 32)


@pytest.fixture(scope="module")
def stock():
    torch.manual_seed(0)
    return timm.create_model("resnet18", num_classes=4)


@pytest.fixture
def model(stock):
    return surgeon.apply(stock, "kap", input_size=SIZE)


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, *SIZE, generator=generator), torch.randint(0, 4, (8,), generator=generator)


def test_apply_needs_no_size_for_kap(stock):
    assert surgeon.apply(timm.create_model("resnet18"), "kap")(torch.randn(2, 3, 64, 64)).shape == (2, 1000)


def test_an_ordinary_loop_learns(model, batch):
    x, y = batch
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_autocast(model, batch):
    x, y = batch
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model.train()(x)
        loss = cross_entropy(output, y)
    loss.backward()
    assert output.dtype == torch.bfloat16 and torch.isfinite(loss)


def test_distributed_data_parallel(model, batch):
    import torch.distributed as dist

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK="0", WORLD_SIZE="1")
    dist.init_process_group("gloo")
    try:
        wrapped = nn.parallel.DistributedDataParallel(model.train())
        x, y = batch
        cross_entropy(wrapped(x), y).backward()
        assert all(p.grad is not None for p in model.parameters())
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("recipe", ["kap", "wm-unsharp", "defective", "noise", "gaussian", "wm-input-scale"])
def test_compile_in_one_graph_in_both_modes(stock, batch, recipe):
    x, y = batch
    model = surgeon.apply(stock, recipe, input_size=SIZE)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    model.eval()
    with torch.no_grad():
        assert torch.allclose(compiled(x), model(x), atol=1e-5)
    model.train()
    cross_entropy(compiled(x), y).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_export(model, batch):
    x, _ = batch
    model.eval()
    exported = torch.export.export(model, (x,))
    assert torch.allclose(exported.module()(x), model(x), atol=1e-5)


def test_averaged_weights(model, batch):
    from timm.utils import ModelEmaV3

    x, _ = batch
    average = ModelEmaV3(model, decay=0.5)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    average.update(model)
    assert torch.allclose(average.module.fc.bias, model.fc.bias - 0.5)
    assert average.module.surgery == model.surgery
    assert average.module.eval()(x).shape == (8, 4)


def test_a_timm_optimizer_with_layer_decay_groups_as_for_the_stock_network(stock, model):
    from timm.optim import create_optimizer_v2

    ours, theirs = (create_optimizer_v2(m, opt="adamw", lr=1e-3, layer_decay=0.7) for m in (model, stock))
    assert [g["lr_scale"] for g in ours.param_groups] == [g["lr_scale"] for g in theirs.param_groups]
    assert [len(g["params"]) for g in ours.param_groups] == [len(g["params"]) for g in theirs.param_groups]


def test_channels_last_and_double_and_half(model, batch):
    x, _ = batch
    model.eval()
    wanted = model(x)
    assert torch.allclose(
        model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last)),
        wanted,
        atol=1e-4,
    )
    assert torch.allclose(model.double()(x.double()).float(), wanted, atol=1e-4)
    assert model.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_torch_save_and_load(model, batch, tmp_path):
    x, _ = batch
    torch.save(model.eval(), tmp_path / "model.pt")
    assert torch.equal(torch.load(tmp_path / "model.pt", weights_only=False)(x), model(x))


def test_functional_call_and_state_dict_names(model, batch):
    x, _ = batch
    model.eval()
    assert torch.equal(torch.func.functional_call(model, dict(model.named_parameters()), (x,)), model(x))
