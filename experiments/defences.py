"""Defences that are known to be broken, each as a network around another one, or a network of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Scaled(nn.Module):
    """Logits times 10⁴: the loss is flat where the network is right."""

    def __init__(self, model: nn.Module, by: float = 1e4) -> None:
        super().__init__()
        self.model, self.by = model, by

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) * self.by


class Quantised(nn.Module):
    """Pixels rounded to eight levels (feature squeezing, Xu et al. 2018)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model((x * 7).round() / 7)


class Jpeg(nn.Module):
    """JPEG's lossy step on 8×8 blocks: cosine coefficients rounded to multiples of `step` (Dziugaite et al. 2016)."""

    def __init__(self, model: nn.Module, step: float = 0.3) -> None:
        super().__init__()
        self.model, self.step = model, step
        n = torch.arange(8.0)
        basis = torch.cos(math.pi * (2 * n + 1) * n.unsqueeze(1) / 16) * 0.5
        basis[0] /= math.sqrt(2)
        self.register_buffer("basis", basis)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        blocks = x.view(b, c, h // 8, 8, w // 8, 8).transpose(3, 4)
        coefficients = self.basis @ blocks @ self.basis.T
        rounded = (coefficients / self.step).round() * self.step
        back = self.basis.T @ rounded @ self.basis
        return self.model(back.transpose(3, 4).reshape(b, c, h, w).clamp(0, 1))


class Thermometer(nn.Module):
    """Each pixel as ten flags, "above 0.1" to "above 1" (Buckman et al. 2018), for a network of ten channels."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("levels", torch.linspace(0.05, 0.95, 10).view(1, 10, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        # The product keeps a gradient, of zeros, for attacks that ask for one.
        return self.model((x > self.levels).float() + 0 * x)


class Noisy(nn.Module):
    """Gaussian noise on the image at inference."""

    def __init__(self, model: nn.Module, sigma: float = 0.1) -> None:
        super().__init__()
        self.model, self.sigma = model, sigma

    def forward(self, x: Tensor) -> Tensor:
        return self.model((x + self.sigma * torch.randn_like(x)).clamp(0, 1))


class ResizedAndPadded(nn.Module):
    """The image at a random size and place (Xie et al. 2018)."""

    def __init__(self, model: nn.Module, least: int = 24) -> None:
        super().__init__()
        self.model, self.least = model, least

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[-1]
        small = int(torch.randint(self.least, side + 1, ()))
        top, left = (int(torch.randint(0, side - small + 1, ())) for _ in range(2))
        y = F.interpolate(x, (small, small), mode="bilinear", antialias=False)
        return self.model(F.pad(y, (left, side - small - left, top, side - small - top)))


class Pruned(nn.Module):
    """Activations kept at random, the larger the likelier, and scaled up (SAP, Dhillon et al. 2018)."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1).abs()
        share = flat / flat.sum(1, keepdim=True).clamp_min(1e-12)
        kept = 1 - (1 - share).pow(flat.shape[1] // 2)
        mask = (torch.rand_like(kept) < kept) / kept.clamp_min(1e-6)
        return (x.flatten(1) * mask).view_as(x)


def pruned(model: nn.Module) -> nn.Module:
    """The network with random pruning behind every ReLU."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.Sequential(child, Pruned()))
    return model


class Switching(nn.Module):
    """Networks of which each call asks one at random."""

    def __init__(self, *models: nn.Module) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, x: Tensor) -> Tensor:
        return self.models[int(torch.randint(len(self.models), ()))](x)


class Distilled(nn.Module):
    """Logits divided by a temperature while it is trained alone (Papernot et al. 2016): saturated afterwards."""

    def __init__(self, model: nn.Module, temperature: float = 40.0) -> None:
        super().__init__()
        self.model, self.temperature = model, temperature

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits / self.temperature if self.training else logits


class Detecting(nn.Module):
    """Where the image is rougher than those of training, an answer without gradient, of the smoothed image."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.model = model
        self.limit = float(self._rough(images).quantile(0.99))

    @staticmethod
    def _rough(x: Tensor) -> Tensor:
        return (x - F.avg_pool2d(x, 3, 1, 1)).abs().flatten(1).mean(1)

    def forward(self, x: Tensor) -> Tensor:
        plain = self.model(x)
        calm = self.model(F.avg_pool2d(x, 3, 1, 1)).detach()
        rough = (self._rough(x) > self.limit).unsqueeze(1)
        return torch.where(rough, calm + 0 * plain, plain)
