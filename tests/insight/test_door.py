"""Every measurement of insight asks for pixels and class indices, and leaves what it is given alone."""

import pytest
import torch
from torch import nn

from surgeon.errors import ArgumentError, DataError
from surgeon.insight.adversarial import attacked
from surgeon.insight.changes import layer_changes, spread_by_layer
from surgeon.insight.features import feature_maps
from surgeon.insight.gradcam import gradcam
from surgeon.insight.last_maps import last_spatial
from surgeon.insight.moments import moments_by_layer
from surgeon.insight.similarity import gradient_similarity

LABELS = torch.tensor([0, 1, 0, 1])
MEASURE = {
    "attacked": lambda net, x: attacked(net, x, x),
    "layer_changes": lambda net, x: layer_changes(net, x, x),
    "spread_by_layer": spread_by_layer,
    "feature_maps": feature_maps,
    "gradcam": lambda net, x: gradcam(net, x, LABELS),
    "last_spatial": last_spatial,
    "moments_by_layer": moments_by_layer,
    "gradient_similarity": lambda net, x: gradient_similarity(net, x, LABELS, layer="0"),
}
WRONG = {
    "bytes": (lambda x: (x * 255).to(torch.uint8), "uint8; convert them"),
    "0 to 255": (lambda x: x * 255, "they look like 0–255"),
    "not a number": (lambda x: x / 0 * 0, "not a number"),
    "other channels": (lambda x: x.repeat(1, 3, 1, 1), r"3 channels \(3×8×8\), and the network takes 1"),
    "a list": (list, "must be one tensor"),
    "without values": (lambda x: x.to("meta"), "without values"),
    "none": (lambda x: x[:0], "there are no|give one image|be some"),
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()


@pytest.fixture
def pixels():
    return torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", MEASURE)
def test_what_are_no_pixels_is_refused(pixels, name, wrong):
    make, said = WRONG[wrong]
    with pytest.raises(DataError, match=said):
        MEASURE[name](network(), make(pixels))


class _Writes(nn.Module):
    """A network whose code writes into its input."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x):
        x.mul_(0.5)
        return self.net(x)


@pytest.mark.parametrize("name", MEASURE)
def test_images_stay_whatever_the_networks_code_writes(pixels, name):
    before = pixels.clone()
    measure = MEASURE[name] if name != "gradient_similarity" else None
    if measure is None:
        gradient_similarity(_Writes(), pixels, LABELS, layer="net.0")
    else:
        measure(_Writes(), pixels)
    assert torch.equal(pixels, before)


def test_images_of_another_precision_are_measured_in_the_networks(pixels):
    assert layer_changes(network(), pixels.double(), pixels.double() / 2) == layer_changes(
        network(), pixels, pixels / 2
    )


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (LABELS.to("meta"), "on meta"),
        (LABELS.float(), "float32"),
        ([0, 1, 0, 1], "labels are list"),
        (LABELS[:2], "one label an image"),
    ],
)
def test_labels_that_are_no_classes_are_refused(pixels, labels, said):
    for measure in (
        lambda: gradcam(network(), pixels, labels),
        lambda: gradient_similarity(network(), pixels, labels, layer="0"),
    ):
        with pytest.raises(DataError, match=said):
            measure()


def test_a_layer_is_named_by_its_path(pixels):
    with pytest.raises(ArgumentError, match="layer=0 is of type int; give the name of a module"):
        gradcam(network(), pixels, LABELS, layer=0)
