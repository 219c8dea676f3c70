"""Weight decay of a weight map's bias, which has a number for each position: none, as of the convolution's."""

import timm
from timm.optim import create_optimizer_v2, param_groups_layer_decay

import surgeon


def decays(groups, parameter):
    return [g["weight_decay"] for g in groups if any(p is parameter for p in g["params"])]


def test_a_weight_maps_bias_is_not_decayed_by_timms_optimizers():
    stock = timm.create_model("test_convnext", num_classes=4)
    model = surgeon.apply(stock, "wm-unsharp", input_size=(3, 64, 64))
    name = "stages.0.blocks.0.conv_dw.bias"
    for network in (stock, model):
        bias = dict(network.named_parameters())[name]
        names = getattr(network, "no_weight_decay", set)()
        groups = param_groups_layer_decay(network, 0.05, no_weight_decay_list=names)
        assert decays(groups, bias) == [0.0]
        for more in ({}, {"layer_decay": 0.5}):
            optimizer = create_optimizer_v2(network, "adamw", lr=0.1, weight_decay=0.05, **more)
            assert decays(optimizer.param_groups, bias) == [0.0]
    assert name in model.no_weight_decay() and model.get_parameter(name).dim() == 3


def test_what_the_stock_class_names_stays():
    stock = timm.create_model("test_vit", num_classes=4)
    model = surgeon.apply(stock, "noise")
    assert model.no_weight_decay() == set(stock.no_weight_decay())
