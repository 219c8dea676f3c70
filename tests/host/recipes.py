"""Every shipped recipe on one small network that all of them can cut."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import surgeon
from surgeon.methods.dual_norm import has_auxiliary_norms
from surgeon.methods.needs import needs_data
from surgeon.recipe import load_recipe, shipped
from surgeon.training import adversarial_noise, auxiliary_norms

SIZE = (3, 8, 8)


class Small(nn.Module):
    """A stem that can be made smaller, two convolutions with norms, a head."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 5, 2, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.act1 = nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.act2 = nn.ReLU()
        self.fc = nn.Linear(16, 4)
        self.num_classes = 4

    def forward(self, x):
        x = self.pool(self.act1(self.bn1(self.conv1(x))))
        return self.fc(self.act2(self.bn2(self.conv2(x))).mean((2, 3)))


CUTTING = tuple(n for n in shipped() if load_recipe(n).surgery)


def network(recipe):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        stock = Small()
        images = torch.rand(16, *SIZE, generator=torch.Generator().manual_seed(5))
        needed = needs_data(surgeon.plan(stock, recipe, input_size=SIZE))
        return surgeon.apply(stock, recipe, input_size=SIZE, calibration=images if needed else None)


def batch():
    generator = torch.Generator().manual_seed(3)
    return torch.rand(6, *SIZE, generator=generator), torch.arange(6) % 4


def step(model, x, y):
    """Logits in training, the gradients of two steps, and the logits in evaluation."""
    torch.manual_seed(4)
    model.train()
    for _ in range(2):  # what one batch remembers is used in the next
        model.zero_grad()
        with adversarial_noise(model, x, y, cross_entropy):
            logits = model(x)
            cross_entropy(logits, y).backward()
    if has_auxiliary_norms(model):  # which have no gradient else
        with auxiliary_norms(model):
            cross_entropy(model(x), y).backward()
    model.eval()
    return logits.detach(), [p.grad for p in model.parameters()], model(x).detach()
