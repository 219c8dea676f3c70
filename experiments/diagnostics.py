"""The diagnostics on five models whose worth is known: two honest ones must pass, three that mislead must be caught.

A CIFAR-10 ResNet-20; the same fine-tuned adversarially (PGD-7, Linf 4/255); its logits times 10⁴; its input rounded to
eight levels; Gaussian noise σ = 0.1 on its input. JPEG test images, class by class; Linf 2/255 (4/255 the trained one).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import surgeon
from experiments.rows import arguments, collect, show
from experiments.sets import cifar
from surgeon.data import Images, held_out
from surgeon.evaluation import Normalized, diagnose
from surgeon.models import normalization_of
from surgeon.recipe import Adversary, Training
from surgeon.training import fit

COUNT = 80


class Masked(nn.Module):
    """A network behind something that misleads attacks."""

    def __init__(self, model: nn.Module, how: str) -> None:
        super().__init__()
        self.model, self.how = model, how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "quantised input":
            return self.model((x * 7).round() / 7)
        if self.how == "noise":
            return self.model((x + 0.1 * torch.randn_like(x)).clamp(0, 1))
        return self.model(x) * 1e4


def main() -> None:
    given = arguments(__doc__ or "", "diagnostics", steps=600)
    weights = next((Path(given.data).parent / "weights").glob("resnet20-*.th"))
    test = held_out(str(Path(given.data) / "cifar10-jpeg"), (3, 32, 32), count=COUNT)

    def run(name: str, seed: int, folder: Path) -> dict[str, float]:
        network = surgeon.create_model("zoo/cifar_resnet20", weights=str(weights)).eval()
        normalize = normalization_of(network)
        eps = 2 / 255
        if name == "adversarially trained":
            eps = 4 / 255
            train = cifar(given.data)["train"]
            few = Images(train.x[: given.steps * 128], train.y[: given.steps * 128])
            settings = Training(
                epochs=1,
                batch_size=128,
                lr=0.05,
                min_lr=0.0,
                schedule="linear",
                pad=4,
                flip=True,
                adversary=Adversary(method="pgd", eps=eps, steps=7),
            )
            fit(network, few, None, settings, folder=folder, seed=seed, label=name, normalize=normalize)
        subject: nn.Module = Normalized(network.eval(), *(normalize or (None, None)))
        plain = subject
        if name not in ("plain", "adversarially trained"):
            subject = Masked(plain, name)
        sources = {} if subject is plain else {"plain": plain}
        diagnosis = diagnose(subject, test.x, test.y, eps=eps, sources=sources, seed=seed)
        figures = {f"{c.code}: {k}": v for c in diagnosis.checks for k, v in c.measured.items()}
        figures |= {f"failed: {c.code}": float(c.failed) for c in diagnosis.checks}
        return {**figures, "reliable": float(diagnosis.reliable)}

    names = ("plain", "adversarially trained", "logits × 10⁴", "quantised input", "noise")
    show(collect({n: lambda s, f, row=n: run(row, s, f) for n in names}, given), {})


if __name__ == "__main__":
    main()
