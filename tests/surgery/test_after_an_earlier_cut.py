"""What an earlier surgery, or an earlier operation of the same recipe, leaves to those that follow."""

import timm
import torch

import surgeon

SIZE = (3, 32, 32)


def test_a_second_surgery_is_of_the_size_of_the_first():
    torch.manual_seed(0)
    once = surgeon.apply(timm.create_model("resnet18", num_classes=4), "kap", input_size=SIZE)
    twice = surgeon.apply(once, {"op": "weight-map", "select": {"last": 1}}, stack=True).eval()
    assert twice.surgery.input_size == SIZE
    assert twice(torch.rand(2, *SIZE)).shape == (2, 4)
    sizes = {s.name: s.in_shape for s in surgeon.sites(once)}
    assert sizes["conv1"] == SIZE


def test_what_was_replaced_with_a_layer_in_front_is_not_replaced_again():
    """A blur in front of a convolution with a stride has taken that one's padding."""
    torch.manual_seed(0)
    stock, x = timm.create_model("resnet18", num_classes=4).eval(), torch.rand(2, *SIZE)
    blur, maps = {"op": "blur-pool"}, {"op": "weight-map"}
    cut = surgeon.apply(stock, [blur, maps], input_size=SIZE).eval()
    passed = {p.site: p.reason for p in cut.surgery.passed_over if p.operation == "weight-map"}
    assert passed["layer2.0.conv1"] == (
        "replaced by blur-pool, with layer2.0.conv1.blur in front; put weight-map before blur-pool in the recipe"
    )
    assert "layer1.0.conv1" not in passed
    assert cut(x).shape == (2, 4)
    assert surgeon.apply(stock, [maps, blur], input_size=SIZE).eval()(x).shape == (2, 4)
    back = surgeon.revert(cut).eval()
    assert torch.equal(back(x), stock(x))
