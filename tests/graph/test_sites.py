"""Sites: what they say of a network."""

import timm
import torch
from torch import nn

import surgeon
from surgeon.graph.sites.survey import survey


def by_name(model, size=(3, 64, 64)):
    return {s.name: s for s in surgeon.sites(model, input_size=size)}


def test_a_resnet_has_its_sites_in_execution_order_with_shapes_and_stages():
    found = surgeon.sites(timm.create_model("resnet18"), input_size=(3, 64, 64))
    assert [s.index for s in found] == list(range(len(found)))
    names = [s.name for s in found]
    assert names[:5] == ["input", "conv1", "bn1", "act1", "maxpool"]
    assert (
        names.index("layer2.0.conv1") < names.index("layer2.0.downsample.0") < names.index("layer2.1.conv1")
    )
    site = {s.name: s for s in found}["layer2.0.conv1"]
    assert (site.kind, site.cls, site.stage, site.dims) == ("conv", "Conv2d", 2, 2)
    assert (site.in_shape, site.out_shape) == ((64, 16, 16), (128, 8, 8))
    assert (site.kernel, site.stride, site.groups, site.bias) == ((3, 3), (2, 2), 1, False)
    assert site.next_norm == "layer2.0.bn1"


def test_stages_count_the_stem_as_zero():
    sites = by_name(timm.create_model("resnet18"))
    assert {sites[n].stage for n in ("conv1", "bn1")} == {0}
    assert [sites[f"layer{i}.0.conv1"].stage for i in (1, 2, 3, 4)] == [1, 2, 3, 4]


def test_a_fused_norm_and_activation_is_one_site_that_opens():
    sites = by_name(timm.create_model("mobilenetv2_100"))
    assert sites["bn1"].fused and sites["bn1"].opens and sites["bn1"].family == "batch"
    sites = by_name(timm.create_model("convnext_atto"))
    assert {s.family for s in sites.values() if s.kind == "norm"} == {"layer"}


def test_weight_standardised_convolutions_say_so():
    sites = by_name(timm.create_model("nf_resnet50"))
    assert {s.standardized for s in sites.values() if s.kind == "conv"} == {"scaled"}


def test_the_layer_that_writes_the_classes_is_known():
    sites = by_name(surgeon.create_model("torchvision/squeezenet1_1"))
    assert [s.name for s in sites.values() if s.logits] == ["classifier.1"]
    sites = by_name(surgeon.create_model("torchvision/deeplabv3_resnet50"))
    assert [s.name for s in sites.values() if s.logits] == ["classifier.4"]
    assert [s.name for s in by_name(timm.create_model("resnet18")).values() if s.logits] == ["fc"]


def test_training_only_sites_have_shapes_too():
    sites = by_name(surgeon.create_model("torchvision/googlenet"), (3, 96, 96))
    aux = sites["aux1.conv.conv"]
    assert aux.modes == ("train",) and aux.out_shape is not None


def test_without_a_size_sites_have_no_shapes():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.conv(x)

    (_, site) = surgeon.sites(Plain())
    assert site.out_shape is None and site.channels == 4


def test_a_shared_module_counts_its_calls():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.conv(self.conv(x))

    (_, site) = surgeon.sites(Twice())
    assert site.calls == 2


def test_measuring_changes_nothing():
    model = timm.create_model("resnet18").train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    survey(model, (3, 64, 64))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(m.training for m in model.modules())


def test_flops_are_those_of_the_convolutions_written_out():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    seen = survey(model, (3, 10, 12)).measured
    assert seen.flops == 2 * 10 * 12 * (3 * 8 * 9 + 8 * 4)
    assert seen.activations == 10 * 12 * (8 + 8 + 4)
