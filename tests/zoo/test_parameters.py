"""The zoo's sizes against the papers' tables."""

from fractions import Fraction
from itertools import pairwise

import pytest
import torch

import surgeon
from surgeon import zoo
from surgeon.models import input_size_of


def count(model):
    return sum(p.numel() for p in model.parameters())


def built(name, **args):
    with torch.device("meta"):
        return surgeon.create_model(f"zoo/{name}", model_args=args)


@pytest.mark.parametrize(
    "name, args, paper, exact",
    [
        ("cnn", {}, "261K", 261_070),
        ("cnn", {"batch_norm": True}, "261K", 261_218),
        ("cnn", {"kernel_size": 9}, "361K", 360_862),
        ("cnn_wide", {}, "1.19M", 1_187_030),
        ("cifar_resnet20", {}, "0.27M", 269_722),
        ("cifar_resnet32", {}, "0.46M", 464_154),
        ("cifar_resnet44", {}, "0.66M", 658_586),
        ("cifar_resnet56", {}, "0.85M", 853_018),
        ("cifar_resnet110", {}, "1.7M", 1_727_962),
        ("vgg16", {}, "14.7M", 14_728_266),
        ("resnet18", {}, "11.2M", 11_173_962),
        ("alexnet", {}, "61.1M", 61_100_840),
    ],
)
def test_parameters_round_to_what_the_paper_says(name, args, paper, exact):
    found = count(built(name, **args))
    assert found == exact
    digits = len(paper[:-1].partition(".")[2])
    assert f"{found / (1e6 if paper[-1] == 'M' else 1e3):.{digits}f}{paper[-1]}" == paper


@pytest.mark.parametrize(
    "recipe, args, paper, exact",
    [
        ("wm-smoothing-all", {}, "1.16M", 1_157_226),
        ("wm-smoothing-all", {"kernel_size": 9}, "1.16M", 1_157_226),
        ("wm-smoothing-all", {"batch_norm": True}, "1.16M", 1_157_370),
        ("wm-unsharp-all", {"same": True}, "1.49M", 1_487_178),
    ],
)
def test_weight_maps_bring_the_plain_skeleton_to_the_numbers_of_table_4(recipe, args, paper, exact):
    cut = surgeon.apply(surgeon.create_model("zoo/wm_cnn", model_args=args), recipe)
    assert count(cut) == exact and f"{exact / 1e6:.2f}M" == paper


def test_what_does_not_match_the_papers():
    """Table 4 rounds the input-scale variant down; MobileNet-V2's 2.3 million are those of another version."""
    cut = surgeon.apply(surgeon.create_model("zoo/cnn"), "wm-input-scale")
    assert count(cut) == 261_070 + 28 * 28
    assert count(built("mobilenet_v2")) == 2_236_682


@pytest.mark.parametrize("alpha", [48, 270])
def test_pyramidal_networks_grow_by_the_additive_rule_of_their_paper(alpha):
    """Han et al., eq. 3: each of the N = 54 blocks of 110 layers is α / N wider than the one before, rounded down."""
    width, widths = Fraction(16), [16]
    for _ in range(54):
        width += Fraction(alpha, 54)
        widths.append(int(width))
    model = built(f"pyramidnet{alpha}")
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 109 and widths[-1] == 16 + alpha  # and one fully connected layer
    assert [m.out_channels for m in convolutions] == [
        16,
        *(w for block in widths[1:] for w in (block, block)),
    ]
    total = 3 * 9 * 16 + 2 * 16  # the first convolution and its norm
    for before, after in pairwise(widths):
        total += 9 * before * after + 9 * after * after + 2 * (before + 2 * after)  # Fig. 6 d: three norms
    total += 2 * widths[-1] + (widths[-1] + 1) * 10
    assert count(model) == total


def test_dropout_leaves_the_weights_their_names():
    plain, dropped = built("vgg11"), built("vgg11", drop_rate=0.5)
    assert list(plain.state_dict()) == list(dropped.state_dict())
    assert [m.p for m in dropped.modules() if isinstance(m, torch.nn.Dropout)] == [0.5]


def test_table_3_pools_to_256_channels_and_table_2_to_64():
    assert built("wm_densenet").fc.in_features == 256
    assert built("wm_resnet").fc.in_features == 64
    kernels = [m.kernel_size for m in built("wm_resnet").modules() if isinstance(m, torch.nn.Conv2d)]
    assert kernels.count((3, 3)) == 34 and kernels.count((1, 1)) == 4


def test_the_wide_residual_network_has_four_times_the_kernels_everywhere():
    plain = [m.out_channels for m in built("resnet18").modules() if isinstance(m, torch.nn.Conv2d)]
    wide = built("resnet18_wide4")
    assert [m.out_channels for m in wide.modules() if isinstance(m, torch.nn.Conv2d)] == [
        4 * c for c in plain
    ]
    assert wide.conv1.stride == (2, 2) and isinstance(wide.maxpool, torch.nn.MaxPool2d)
    assert wide.num_classes == 1000


@pytest.mark.parametrize("name", [n.removeprefix("zoo/") for n in zoo.names()])
def test_every_network_maps_its_images_to_its_classes_and_can_be_traced(name):
    shallow = {"depth": 8} if name.startswith("pyramidnet") else {}  # of many blocks that are alike
    model = built(name, **shallow).eval()
    size = input_size_of(model)
    graph = torch.fx.symbolic_trace(model)
    for network in (model, graph):
        assert network(torch.zeros(2, *size, device="meta")).shape == (2, model.num_classes)
    small = built(name, num_classes=7, in_chans=2, **shallow).eval()
    assert small(torch.zeros(2, 2, *size[1:], device="meta")).shape == (2, 7)
    assert small.num_classes == 7 and input_size_of(small) == (2, *size[1:])
    assert "mean" not in small.pretrained_cfg


@pytest.mark.parametrize(
    "name, side", [("mobilenet_v1", 2), ("mobilenet_v2", 4), ("resnet18", 4), ("resnet34", 4)]
)
def test_small_images_keep_a_map_and_timm_s_features_tell_it(name, side):
    model = built(name).eval()
    assert model.forward_features(torch.zeros(1, 3, 32, 32, device="meta")).shape[-1] == side
    assert model.feature_info[-1]["reduction"] == 32 // side
