"""The papers' networks that neither timm nor torchvision has, under names such as `zoo/lenet5`.

`surgeon.create_model` and `surgeon.list_models` know them; the classes can also be used directly. Each file
says which table of which paper its network is from, and which of that paper's numbers it does not reproduce.
"""

from __future__ import annotations

from surgeon.zoo.cifar_resnet import CifarResNet
from surgeon.zoo.cnn import PlainCNN
from surgeon.zoo.lenet import LeNet5
from surgeon.zoo.registry import PREFIX, create, names
from surgeon.zoo.shallow import Shallow
from surgeon.zoo.wm_densenet import WeightMapDenseNet
from surgeon.zoo.wm_resnet import WeightMapResNet

__all__ = [
    "PREFIX",
    "CifarResNet",
    "LeNet5",
    "PlainCNN",
    "Shallow",
    "WeightMapDenseNet",
    "WeightMapResNet",
    "create",
    "names",
]
