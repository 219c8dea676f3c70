"""A network that registers its modules in another order than it calls them is taken as it runs."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.data import Images
from surgeon.insight.gradcam import gradcam
from surgeon.insight.kernels import kernel_sheet
from surgeon.models import normalization_of, set_normalization
from surgeon.recipe import Training
from surgeon.training import fit


class Backwards(nn.Module):
    """Its second convolution is the first one that it registers."""

    def __init__(self):
        super().__init__()
        self.second, self.first = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(3, 16, 3, padding=1)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.second(self.first(x).relu()).relu().mean((2, 3)))


@pytest.fixture(params=["stock", "cut"])
def network(request):
    torch.manual_seed(0)
    model = Backwards().eval()
    return model if request.param == "stock" else surgeon.apply(model, "noise", input_size=(3, 8, 8)).eval()


def test_pictures_take_its_images_and_name_its_first_convolution(network):
    images, labels = torch.rand(4, 3, 8, 8), torch.arange(4) % 3
    assert kernel_sheet(network).layer == "first"
    gradcam(network, images, labels)


def test_it_trains_with_a_number_for_each_channel_of_its_images(network):
    normalize = ((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    set_normalization(network, *normalize)
    assert normalization_of(network) == normalize
    images = Images(torch.rand(8, 3, 8, 8), torch.arange(8) % 3)
    fit(network, images, None, Training(epochs=1, batch_size=8), normalize=normalize)
