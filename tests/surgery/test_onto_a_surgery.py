"""A second surgery sees the network as the first one left it: its sizes, its statistics, its costs."""

import pytest
import timm
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError

SIZE = (3, 32, 32)
FIRST = {
    "blur": {"op": "blur-pool"},
    "blur at poolings": {"op": "blur-pool", "at": "pool"},
    "gelu": {"op": "smooth-activation"},
}


def stock():
    torch.manual_seed(0)
    return timm.create_model("resnet18", num_classes=4, channels=[8, 8, 16, 16]).eval()


def images(count=16):
    return torch.rand(count, *SIZE, generator=torch.Generator().manual_seed(1))


def shapes(network):
    """What each module is given and gives, where the rewritten network runs."""
    seen = {}

    def note(name):
        def hook(module, args, out):
            seen[name] = (tuple(args[0].shape[1:]), tuple(out.shape[1:]))

        return hook

    hooks = [m.register_forward_hook(note(n)) for n, m in network.named_modules() if n]
    with torch.no_grad():
        network(images(2))
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_sites_have_the_sizes_that_the_network_runs_at(first):
    cut = surgeon.apply(stock(), first, input_size=SIZE)
    layers = {e.site: e.layer for e in cut.surgery.edits if not e.before}
    run = shapes(cut)
    sites = [s for s in surgeon.sites(cut, input_size=SIZE) if s.name in run]
    assert len(sites) > 30
    for site in sites:
        assert site.in_shape == run[site.name][0], site.name
        assert site.out_shape == run[layers.get(site.name, site.name)][1], site.name


@pytest.mark.parametrize("second", ["kap", "wm-unsharp", "anl", "meansparse", "soft-pool", "defective"])
@pytest.mark.parametrize(
    "first", [FIRST["blur"], FIRST["blur at poolings"]], ids=["blur", "blur at poolings"]
)
def test_every_recipe_goes_onto_layers_that_make_sizes(first, second):
    network, x = stock(), images()
    cut = surgeon.apply(network, first, input_size=SIZE).eval()
    twice = surgeon.apply(cut, second, stack=True, input_size=SIZE, calibration=x).eval()
    assert twice(x).shape == (16, 4) and len(twice.surgery.edits) > len(cut.surgery.edits)
    assert torch.equal(surgeon.revert(twice)(x), network(x))
    torch.testing.assert_close(surgeon.fold(twice, partial=True)(x), twice(x), atol=1e-5, rtol=1e-4)


def test_flops_are_counted_with_the_layers_of_the_first_surgery():
    first = surgeon.apply(stock(), FIRST["blur at poolings"], input_size=SIZE)
    assert surgeon.plan(first, "anl", stack=True, input_size=SIZE).before.flops == pytest.approx(
        surgeon.plan(stock(), "anl", input_size=SIZE).before.flops, rel=0.05
    )


@pytest.mark.parametrize("first", ["kap", "meansparse"])
def test_statistics_are_of_the_network_that_is_cut_again(first):
    """And not of one without the layers of the first surgery."""
    x = images(7)  # too few to hold some out: all are taken
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 9, 3), nn.ReLU(), nn.Conv2d(9, 9, 3), nn.ReLU()).eval()
    at = {"op": first, "select": {"include": "0" if first == "kap" else "1"}}
    cut = surgeon.apply(network, at, input_size=SIZE, calibration=x).eval()
    values = {}
    for key, one in (("cut", cut), ("stock", network)):
        one.get_submodule("2").register_forward_hook(
            lambda m, a, out, key=key: values.update({key: out.detach()})
        )
        one(x)
    assert not torch.allclose(values["cut"], values["stock"], atol=1e-3)
    at = {"op": "meansparse", "alpha": 0.1, "select": {"include": "3"}}
    twice = surgeon.apply(cut, at, stack=True, input_size=SIZE, calibration=x)
    layer = twice.get_submodule(twice.surgery.edits[-1].layer)
    torch.testing.assert_close(layer.mean, values["cut"].mean((0, 2, 3)), atol=1e-4, rtol=1e-4)


def test_nothing_is_added_where_modules_give_other_channels_than_their_sites():
    cut = surgeon.apply(stock(), "kap-ensemble", input_size=SIZE)
    with pytest.raises(
        SurgeryError, match=r"nothing can be added to kap: conv1 gives other channels .* at once"
    ):
        surgeon.apply(cut, "anl", stack=True, input_size=SIZE)
    both = surgeon.apply(stock(), ["kap-ensemble", "anl"], input_size=SIZE)
    assert both(images(2)).shape == (2, 4)
