"""A network whose first convolution is replaced takes the images that it took before."""

import pytest
import timm
import torch

import surgeon
from surgeon.models import in_channels_of, input_size_of


@pytest.mark.parametrize("settings", [{}, {"start": "anneal"}], ids=["map", "blend"])
def test_a_weight_map_in_the_first_place_is_what_images_go_into(tmp_path, settings):
    torch.manual_seed(0)
    stock = timm.create_model("test_resnet", num_classes=4)
    recipe = {"op": "weight-map", "select": {"first": 1}, **settings}
    cut = surgeon.apply(stock, recipe, input_size=(3, 64, 64)).eval()
    assert in_channels_of(cut) == in_channels_of(stock) == 3
    assert input_size_of(cut) == input_size_of(stock)
    x = torch.rand(2, 3, 64, 64)
    surgeon.save(cut, tmp_path / "cut")
    assert torch.equal(surgeon.load(tmp_path / "cut").eval()(x), cut(x))
