"""What the sweep over all models found, each in a small network of its own."""

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

import surgeon
from surgeon.errors import SelectionError
from surgeon.graph.measuring.measure import measure


class ClassToken(nn.Module):
    """Calls a module on a view of a parameter, as CaiT does with its class token."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.token = nn.Parameter(torch.zeros(1, 8))
        self.mix = nn.Linear(8, 8)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        return self.mix(self.token.expand(len(x), -1)) + x


def test_a_module_called_on_a_view_of_a_parameter_is_measured():
    seen = measure(ClassToken(), (3, 8, 8))
    assert not seen.error
    assert seen.flops == 2 * 8 * 27 * 36 + 2 * 8 * 8


class Twice(nn.Module):
    """One convolution under two names, as in CoaT."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.second = self.first

    def forward(self, x):
        return self.second(self.first(self.stem(x))).mean((2, 3))


def test_an_exchanged_module_is_exchanged_under_all_its_names():
    stock = Twice()
    cut = surgeon.apply(
        stock, {"op": "kap", "kernel_size": 3, "stride": 3, "widen": True}, input_size=(3, 8, 8)
    )
    checks = {c.name: c for c in surgeon.verify(stock, cut)}
    assert checks["names"].ok, checks["names"].detail


class Positions(nn.Module):
    """Has a position for each patch of a 32×32 image."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, stride=8)
        self.positions = nn.Parameter(torch.zeros(1, 8, 16))

    def forward(self, x):
        return (self.patches(x).flatten(2) + self.positions).mean(2)


def test_a_stem_that_the_rest_cannot_do_with_is_refused_in_the_plan():
    model = Positions()
    with pytest.raises(SelectionError, match="small-image: the network is built for the sizes that it has"):
        surgeon.plan(model, "small-image", input_size=(3, 32, 32))


class Quantizable(nn.Module):
    """Adds by a module that a quantisation would exchange, as torchvision's quantisable networks do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.add = torch.ao.nn.quantized.FloatFunctional()

    def forward(self, x):
        x = self.conv(x)
        return self.add.add(x, x).mean((2, 3))


def test_a_network_that_could_be_quantised_is_not_quantised(images):
    stock = Quantizable()
    cut = surgeon.apply(stock, "noise", input_size=(3, 8, 8))
    assert torch.equal(cut.eval()(images), stock.eval()(images))


def test_one_look_serves_several_plans_and_cuts(tiny, images):
    from surgeon.surgery import look

    seen = look(tiny, input_size=(3, 8, 8))
    for recipe in ("kap", "anl", "noise"):
        alone = surgeon.plan(tiny, recipe, input_size=(3, 8, 8))
        assert surgeon.plan(tiny, recipe, input_size=(3, 8, 8), seen=seen) == alone
        cut = surgeon.apply(tiny, recipe, input_size=(3, 8, 8), seen=seen)
        again = surgeon.apply(tiny, alone)
        for training in (False, True):
            nodes = [
                [(n.op, str(n.target)) for n in m.train(training).graph.nodes]
                for m in (cut.cpu(), again.cpu())
            ]
            assert nodes[0] == nodes[1]
        assert torch.equal(cut.eval()(images), again.eval()(images))


def test_a_network_without_a_head_is_loaded_without_one(tmp_path):
    model = surgeon.create_model("test_vit", num_classes=0)
    cut = surgeon.apply(model, "kap", input_size=(3, 160, 160))
    surgeon.save(cut, tmp_path / "cut")
    assert list(surgeon.load(tmp_path / "cut").state_dict()) == list(cut.state_dict())


class Flow(nn.Module):
    """Takes two images, keeps what it found of them, and demands that its encoder halves them: RAFT in small."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.found = {}

    def forward(self, image1, image2):
        one, two = self.encoder(torch.cat([image1, image2])).chunk(2)
        if one.shape[-1] * 2 != image1.shape[-1]:
            raise ValueError("the encoder should halve its input")
        self.found["pyramid"] = [one * two]
        return self.found["pyramid"][0].mean((2, 3))


def test_a_network_of_two_images_is_measured_with_two():
    stock = Flow()
    plan = surgeon.plan(stock, "anl", input_size=(3, 16, 16))
    assert plan.measured and plan.before.flops
    masked = surgeon.apply(stock, "defective", input_size=(3, 16, 16))
    assert masked.surgery.execution.drift.relative > 0
    assert all(c.ok is not False for c in surgeon.verify(stock, masked))
    with pytest.raises(SelectionError, match="should halve its input"):
        surgeon.plan(stock, "small-image", input_size=(3, 16, 16))


def test_a_network_that_keeps_activations_is_copied_after_a_training_step():
    x = torch.randn(2, 3, 16, 16)
    cut = surgeon.apply(Flow(), "anl", input_size=(3, 16, 16))
    cut(x, x).sum().backward()
    folded = surgeon.fold(cut)
    assert torch.equal(folded.eval()(x, x), cut.eval()(x, x))


class Anchored(nn.Module):
    """Keeps anchors of the present size, in three ways: a detector in small."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.head = nn.Linear(16, 4)
        self.anchors, self.seen, self.sizes = None, [], {}

    def forward(self, x):
        x = self.conv(x)
        self.anchors = x.new_ones(1)
        self.seen = [self.anchors]
        self.sizes["last"] = self.later = self.anchors
        return self.head((x * self.anchors).mean((2, 3)))


def test_looking_at_a_network_leaves_no_tensors_in_its_attributes(tmp_path):
    stock, x = Anchored(), torch.randn(2, 3, 16, 16)
    plan = surgeon.plan(stock, "kap", input_size=(3, 16, 16))
    cuts = [surgeon.apply(stock, plan), surgeon.apply(stock, "kap", input_size=(3, 16, 16))]
    surgeon.save(cuts[0], tmp_path / "out")
    cuts.append(surgeon.load(tmp_path / "out", model=stock))
    for network in (stock, *cuts):
        assert (
            network.anchors is None
            and not network.seen
            and not network.sizes
            and not hasattr(network, "later")
        )
    outputs = [c.eval()(x) for c in cuts]
    assert all(torch.equal(o, outputs[0]) for o in outputs)


class Pyramid(nn.Module):
    """One head for maps of several sizes, called from code that cannot be traced, as in a detector."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))

    def forward(self, images):
        x = self.stem(torch.stack(list(images)))
        return sum(self.head(x[..., ::n, ::n]).mean((2, 3)) for n in range(1, 2 + int(x.shape[-1] > 4)))


def test_calls_are_those_of_the_whole_pass(tiny):
    heads = [s for s in surgeon.sites(Pyramid(), input_size=(3, 8, 8)) if s.name.startswith("head")]
    assert [s.calls for s in heads] == [2, 2]
    with pytest.raises(SelectionError, match="called 2 times a pass"):
        surgeon.plan(Pyramid(), {"op": "weight-map", "select": {"include": "head.**"}}, input_size=(3, 8, 8))


def test_a_detector_is_loaded_with_its_own_classes(tmp_path):
    name = "torchvision/fasterrcnn_mobilenet_v3_large_320_fpn"
    small = {"min_size": 64, "max_size": 64}
    cut = surgeon.apply(surgeon.create_model(name, num_classes=5, model_args=small), "noise", copy=False)
    surgeon.save(cut, tmp_path / "cut")
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (cut, surgeon.load(tmp_path / "cut"))]
    assert shapes[0] == shapes[1]


class Rotary(nn.Module):
    """Moves a tensor to the device of a buffer, as rotary embeddings do: the device would stay in the graph."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.register_buffer("periods", torch.ones(8))

    def forward(self, x):
        x = self.conv(x)
        angles = torch.arange(x.shape[-1]).to(device=self.periods.device, dtype=torch.float32)
        return (x * angles.to(self.periods.device)).mean((2, 3)) * self.periods


def test_a_rewritten_network_can_be_moved_to_another_device():
    stock = Rotary()
    cut = surgeon.apply(stock, "noise", input_size=(3, 8, 8))
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(cut.eval()(x), stock.eval()(x))
    devices = [
        a
        for g in cut.graphs
        for n in g.nodes
        for a in (*n.args, *n.kwargs.values())
        if isinstance(a, torch.device)
    ]
    assert not devices
    assert cut.to("meta")(x.to("meta")).device.type == "meta"


class Tokens(nn.Module):
    """Normalises tokens as if each were an image, as LeViT does."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, stride=4)
        self.first = nn.BatchNorm2d(8)
        self.mix = nn.Linear(8, 8)
        self.second = nn.BatchNorm1d(8)
        self.num_classes = 8

    def forward(self, x):
        x = self.mix(self.first(self.conv(x)).flatten(2).transpose(1, 2))
        return self.second(x.flatten(0, 1)).reshape_as(x).mean(1)


def test_a_cache_by_class_passes_over_norms_whose_rows_are_tokens():
    plans = {r: surgeon.plan(Tokens(), r, input_size=(3, 16, 16)) for r in ("canl", "anl")}
    assert [e.site for e in plans["canl"].edits] == ["first"]
    assert [e.site for e in plans["anl"].edits] == ["first", "second"]
    assert "rows are not the images" in next(
        p.reason for p in plans["canl"].passed_over if p.site == "second"
    )


def test_a_video_is_no_image_for_the_input_scale():
    model = nn.Sequential(nn.Conv3d(3, 8, 3, padding=1), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    with pytest.raises(SelectionError, match="this input is 3-D"):
        surgeon.plan(model, "wm-input-scale", input_size=(3, 4, 8, 8))


@pytest.mark.parametrize("window", [2, 4])
def test_an_even_window_with_a_zero_more_behind_keeps_its_size(window):
    """timm's Conv2dSame at stride 1, as in efficientnet_x: no number of zeros on both sides gives its size."""
    model = nn.Sequential(
        Conv2dSame(3, 8, window, bias=False), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    x = torch.randn(2, 3, 9, 8)
    for settings in ({}, {"kernel_size": 3}, {"start": "mean"}):
        cut = surgeon.apply(
            model, {"op": "weight-map", "mode": "smoothing", **settings}, input_size=(3, 9, 8)
        )
        assert cut.get_submodule("0")(x).shape == model[0](x).shape == (2, 8, 9, 8)
    annealed = surgeon.apply(model, {"op": "weight-map", "start": "anneal"}, input_size=(3, 9, 8)).eval()
    torch.testing.assert_close(annealed(x), model.eval()(x))
    with pytest.raises(SelectionError, match="gives another size than the convolution, 9×8"):
        surgeon.apply(
            nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False)),
            {"op": "weight-map", "kernel_size": 2},
            input_size=(3, 9, 8),
        )
