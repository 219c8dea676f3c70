"""Table 1 of "Adversarial Noise Layer" (arXiv 1805.08000): gradients of one class resemble one another.

LeNet-5 after three epochs on MNIST; the gradient of each sample's loss by a layer's output, divided by its largest
|g|; the mean cosine (eq. 5) between test samples of class 0 and of each class. The paper does not name the layer:
here each layer with weights, the first two of which have noise layers in the paper's LeNet-5.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import surgeon
from experiments.rows import arguments, collect, show
from experiments.sets import mnist
from surgeon.data import Images
from surgeon.methods.adversarial_noise.maths import noise_along
from surgeon.recipe import Training
from surgeon.training import fit

PAPER = (0.77, 0.07, -0.13, 0.09, 0.03, -0.10, -0.12, 0.05, -0.08, 0.02)
LAYERS = ("conv1", "conv2", "fc1", "fc2", "fc3")
EACH = 100


def gradients(model: nn.Module, layer: nn.Module, images: Images) -> Tensor:
    """(N, activations) of each sample's loss by the layer's output, its largest component 1."""
    kept: list[Tensor] = []
    hook = layer.register_forward_hook(lambda m, i, out: kept.append(out))
    try:
        loss = nn.functional.cross_entropy(model(images.x.float() / 255), images.y, reduction="sum")
    finally:
        hook.remove()
    (gradient,) = torch.autograd.grad(loss, kept)
    return noise_along(gradient, 1.0, 1.0).flatten(1)


def similarity(found: Tensor, labels: Tensor) -> list[float]:
    """Mean cosine between samples of class 0 and of class c, pairs of one sample with itself left out."""
    unit = nn.functional.normalize(found.double(), dim=1)
    cosine = unit[labels == 0] @ unit.T
    means = []
    for c in range(10):
        block = cosine[:, labels == c]
        n = len(block)
        means.append(float((block.sum() - (n if c == 0 else 0)) / (block.numel() - (n if c == 0 else 0))))
    return means


def main() -> None:
    given = arguments(__doc__ or "", "gradient_similarity", epochs=3)
    sets = mnist(given.data)
    each = torch.cat([(sets["test"].y == c).nonzero().flatten()[:EACH] for c in range(10)])
    test = Images(sets["test"].x[each], sets["test"].y[each])

    def run(seed: int, folder: Path) -> dict[str, float]:
        model = surgeon.create_model("zoo/lenet5")
        fit(
            model,
            sets["train"],
            sets["val"],
            Training(epochs=given.epochs, lr=0.05),
            folder=folder,
            seed=seed,
        )
        model.eval()
        rows = {n: similarity(gradients(model, getattr(model, n), test), test.y) for n in LAYERS}
        return {f"{n} {c}": v for n, values in rows.items() for c, v in enumerate(values)}

    found = collect({"lenet5": run}, given)["lenet5"]
    show({n: {str(c): found[f"{n} {c}"] for c in range(10)} for n in LAYERS}, {})
    print("| the paper | " + " | ".join(f"{v:.2f}" for v in PAPER) + " |")


if __name__ == "__main__":
    main()
