"""lightning: a few steps of its Trainer, and its checkpoint."""

import pytest
import torch
from torch import nn

lightning = pytest.importorskip("lightning")


class Classifier(lightning.LightningModule):
    """What its users write."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def test_trainer(network, images, labels, tmp_path):
    """`Trainer.fit`, `save_checkpoint`, `load_from_checkpoint`"""
    before = {k: v.clone() for k, v in network.state_dict().items()}
    module = Classifier(network)
    trainer = lightning.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=4)
    trainer.fit(module, loader)
    after = network.state_dict()
    assert any(not torch.equal(v, after[k]) for k, v in before.items())
    trainer.save_checkpoint(tmp_path / "one.ckpt", weights_only=True)
    fresh = Classifier(network)
    fresh.load_state_dict(torch.load(tmp_path / "one.ckpt", weights_only=True)["state_dict"])
