"""A rewritten network in training loops that know nothing of surgeon."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import surgeon
from surgeon.errors import SurgeonError
from surgeon.training import adversarial_noise
from tests.interop.conftest import SIZE


def test_apply_needs_no_size_for_kap(stock):
    assert surgeon.apply(stock, "kap")(torch.randn(2, 3, 64, 64)).shape == (2, 4)


def test_an_ordinary_loop_learns(model, batch):
    x, y = batch
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.02, momentum=0.9)
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


def test_channels_last_and_double_and_half(model, batch):
    x, _ = batch
    wanted = model(x)
    last = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert torch.allclose(last, wanted, atol=1e-4)
    assert torch.allclose(model.double()(x.double()).float(), wanted, atol=1e-4)
    assert model.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_the_loop_of_torchvisions_references(model, batch):
    """SGD with no decay on norms, StepLR, clipping, label smoothing, and the average of its own class."""

    class Average(torch.optim.swa_utils.AveragedModel):  # as references/classification/utils.py has it
        def __init__(self, network, decay):
            super().__init__(
                network, "cpu", lambda old, new, _: decay * old + (1 - decay) * new, use_buffers=True
            )

    x, y = batch
    norms, others = [], []
    for module in model.modules():  # set_weight_decay of the references, in short
        known = norms if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm)) else others
        known += module.parameters(recurse=False)
    assert norms and len(norms) + len(others) == len(list(model.parameters()))
    groups = [{"params": norms, "weight_decay": 0.0}, {"params": others, "weight_decay": 1e-4}]
    optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.1)
    average = Average(model, decay=0.9)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for _ in range(2):
        model.train()
        optimizer.zero_grad()
        cross_entropy(model(x), y, label_smoothing=0.1).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)
    assert not torch.equal(model.state_dict()["fc.weight"], before["fc.weight"])
    assert not torch.equal(average.module.fc.weight, model.fc.weight)
    assert average.module.surgery == model.surgery
    assert average.eval()(x).shape == (8, 4)


def test_torchvisions_split_of_norms_sees_those_with_no_layer_behind_them(stock, cut):
    """`split_normalization_params` takes a module with children for a container."""
    from torchvision.ops._utils import split_normalization_params

    def sizes(network):
        return [len(group) for group in split_normalization_params(network)]

    for recipe in ("kap", "wm-unsharp"):
        assert sizes(cut(recipe)) == sizes(stock), recipe
    for recipe in ("anl", "defective"):  # its layers are children of the norms that they follow
        assert sizes(cut(recipe))[0] < sizes(stock)[0], recipe
        assert sum(sizes(cut(recipe))) == sum(sizes(stock)), recipe


@pytest.mark.filterwarnings("ignore")  # Lightning's own: few workers, modules in evaluation mode, pytree
def test_lightnings_trainer(model, batch, tmp_path):
    lightning = pytest.importorskip("lightning")

    class Classifier(lightning.LightningModule):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def training_step(self, batch, _):
            return cross_entropy(self.network(batch[0]), batch[1])

        def validation_step(self, batch, _):
            self.log("loss", cross_entropy(self.network(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    loader = DataLoader(TensorDataset(*batch), batch_size=4)
    before = model.fc.weight.detach().clone()
    trainer = lightning.Trainer(
        max_steps=2,
        limit_val_batches=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    module = Classifier(model)
    trainer.fit(module, loader, loader)
    assert trainer.global_step == 2 and not torch.equal(model.fc.weight, before)
    assert torch.isfinite(trainer.callback_metrics["loss"])
    trainer.save_checkpoint(tmp_path / "step.ckpt", weights_only=True)
    other = Classifier(surgeon.apply(surgeon.revert(model), model.surgery.recipe, input_size=SIZE))
    other.load_state_dict(torch.load(tmp_path / "step.ckpt", weights_only=True)["state_dict"])
    assert torch.equal(other.network.eval()(batch[0]), model.eval()(batch[0]))


def test_accelerate(model, batch):
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(*batch), batch_size=4)
    network, optimizer, loader = accelerator.prepare(model.train(), optimizer, loader)
    before = model.fc.weight.detach().clone()
    for x, y in loader:
        optimizer.zero_grad()
        accelerator.backward(cross_entropy(network(x), y))
        optimizer.step()
    assert not torch.equal(model.fc.weight, before)
    assert accelerator.unwrap_model(network) is model
    assert accelerator.get_state_dict(network).keys() == model.state_dict().keys()


@pytest.mark.parametrize("recipe", ["kap", "gaussian", "lat", "wm-unsharp", "defective"])
def test_the_whole_network_in_a_checkpoint_has_the_same_gradients(cut, batch, recipe):
    from torch.utils.checkpoint import checkpoint

    x, y = batch
    found = []
    for keeps in (True, False):
        network = cut(recipe).train()
        torch.manual_seed(5)
        output = network(x) if keeps else checkpoint(network, x, use_reentrant=False)
        cross_entropy(output, y).backward()
        found.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert torch.equal(*found)


def test_anl_in_a_checkpoint_is_refused(cut, batch):
    """Its first round asks for gradients at the layers, which a checkpoint computes a second time."""
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x):
            return checkpoint(self.network, x, use_reentrant=False)

    x, y = batch
    network = Checkpointed(cut("anl")).train()
    with pytest.raises(SurgeonError, match="called twice in one recording"):
        with adversarial_noise(network, x, y, cross_entropy):
            cross_entropy(network(x), y).backward()
