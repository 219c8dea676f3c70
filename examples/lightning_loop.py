"""Lightning with adversarial noise layers, in three added lines. Its backward pass comes after training_step
returns."""

import argparse

import lightning
import timm
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import surgeon, surgeon.training  # surgeon


class Classifier(lightning.LightningModule):
    """A small ResNet for the digits."""

    def __init__(self, recipe: str = "anl") -> None:
        super().__init__()
        self.model = timm.create_model("resnet18", num_classes=10, in_chans=1, channels=(16, 32, 64, 64))
        self.model = surgeon.apply(self.model, recipe, input_size=(1, 32, 32))  # surgeon

    def training_step(self, batch: list[torch.Tensor], number: int) -> torch.Tensor:
        x, y = batch
        with surgeon.training.adversarial_noise(self.model, x, y, cross_entropy):  # surgeon
            return cross_entropy(self.model(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def main(recipe: str = "anl", epochs: int = 4) -> float:
    """Train on the digits; returns the accuracy on the last 400 of them."""
    lightning.seed_everything(0, verbose=False)
    digits = load_digits()
    images = (
        torch.tensor(digits.images, dtype=torch.float32)
        .unsqueeze(1)
        .repeat_interleave(4, 2)
        .repeat_interleave(4, 3)
        / 16
    )
    labels = torch.tensor(digits.target)
    loader = DataLoader(TensorDataset(images[:-400], labels[:-400]), batch_size=64, shuffle=True)
    module = Classifier(recipe)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader)
    module.eval()
    with torch.no_grad():
        return float((module.model(images[-400:]).argmax(1) == labels[-400:]).float().mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="anl", help="anl, canl, kap, … or several joined by '+'")
    parser.add_argument("--epochs", type=int, default=4)
    print(f"accuracy {100 * main(**vars(parser.parse_args())):.1f} %")
