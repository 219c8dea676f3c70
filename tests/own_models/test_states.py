"""Networks that were wrapped, compiled, scripted, quantised, patched, or are not all there: refused, with
what works."""

import types

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError
from tests.own_models.checks import KAP, SIZE, Plain, images, out, works


def compiled():
    return torch.compile(Plain(), backend="eager")


def part_compiled():
    model = Plain()
    model.conv2 = torch.compile(model.conv2, backend="eager")
    return model


def distributed():
    """As DistributedDataParallel is named and holds its network; a real one needs a process group."""
    model = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(model)
    model.module = Plain()
    return model


def scripted():
    return torch.jit.script(nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU()))


def jit_traced():
    return torch.jit.trace(Plain().eval(), images())


def quantised():
    from torch.ao.nn.quantized.dynamic import Linear

    model = Plain()
    model.head = Linear(16, 5)
    return model


def lazy():
    return Plain(nn.LazyConv2d(16, 3, padding=1))


def patched():
    model = Plain()
    old = model.forward
    model.forward = lambda x: old(x) * 2
    return model


def patched_inside():
    model = Plain()
    old = model.conv2.forward
    model.conv2.forward = lambda x: old(x) * 2
    return model


def bound_anew():
    model = Plain()
    model.forward = types.MethodType(lambda self, x: self.head(self.conv(x).mean((2, 3))), model)
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            compiled,
            r"the model: it is wrapped in OptimizedModule; .*surgeon.apply\(model._orig_mod, …\), and compile",
        ),
        (
            part_compiled,
            r"conv2: it is wrapped in OptimizedModule; .*model.conv2 = model.conv2._orig_mod, cut the network, and "
            "compile that part again",
        ),
        (
            lambda: nn.DataParallel(Plain()),
            r"wrapped in DataParallel; .*surgeon.apply\(model.module, …\), and wrap",
        ),
        (
            distributed,
            r"wrapped in DistributedDataParallel; .*surgeon.apply\(model.module, …\), and wrap the result",
        ),
        (
            scripted,
            "the model: it is compiled by TorchScript, whose code torch.fx cannot follow; cut the network it was",
        ),
        (jit_traced, "the model: it is compiled by TorchScript"),
        (
            quantised,
            "head: Linear is quantised, with packed weights; cut the network first, then quantise it",
        ),
        (lazy, "conv2: LazyConv2d has no shape yet; run the network once on an image, then cut it"),
        (
            patched,
            "the model: forward was exchanged on this object, so that the code of Plain is not what runs",
        ),
        (
            patched_inside,
            "conv2: forward was exchanged on this object, so that the code of Conv2d is not what runs",
        ),
        (bound_anew, "the model: forward was exchanged on this object"),
        (lambda: {"state_dict": {}}, "surgery is for a torch.nn.Module, not for a dict"),
    ],
)
def test_it_is_refused_with_what_works(make, message):
    model = make()
    for call in (surgeon.plan, surgeon.apply):
        with pytest.raises(SurgeryError, match=message):
            call(model, KAP, input_size=SIZE)
    with pytest.raises(SurgeryError, match=message):
        surgeon.sites(model)


def test_a_plan_does_not_let_it_pass_either():
    model = Plain()
    made = surgeon.plan(model, KAP, input_size=SIZE)
    model.conv2.forward = lambda x: x
    with pytest.raises(SurgeryError, match="conv2: forward was exchanged"):
        surgeon.apply(model, made)


def test_what_was_wrapped_is_cut_inside_and_wrapped_again(tmp_path):
    model = compiled()
    cut = works(model._orig_mod, tmp_path)
    again = torch.compile(cut, backend="eager")
    assert torch.allclose(out(again, images()), out(cut, images()), rtol=1e-4, atol=1e-5)


def test_compiled_in_place_the_copy_is_not_compiled(tmp_path):
    model = Plain()
    model.compile(backend="eager")
    assert works(model, tmp_path)._compiled_call_impl is None


def test_a_lazy_network_that_has_run_is_like_any_other(tmp_path):
    model = lazy()
    model(images())
    works(model, tmp_path, sites=["conv", "conv2"])


def test_a_graph_module_is_cut(tmp_path):
    model = torch.fx.symbolic_trace(Plain())
    x = images()
    cut = surgeon.apply(model.eval(), KAP, input_size=SIZE).eval()
    assert torch.allclose(out(surgeon.fold(cut), x), out(cut, x), atol=1e-5)
    assert torch.equal(out(surgeon.revert(cut), x), out(model, x))


def test_a_network_without_values_can_be_planned_and_not_cut():
    with torch.device("meta"):
        model = Plain()
    made = surgeon.plan(model, KAP, input_size=SIZE)
    assert [e.site for e in made.edits] == ["conv", "conv2"]
    with pytest.raises(
        SurgeryError, match=r"conv.weight is on the meta device, without values; .*model.to_empty"
    ):
        surgeon.apply(model, made)


def test_a_forward_that_is_another_method_of_its_class_is_right(tmp_path):
    class Chooses(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(16, 16, 3, padding=1)
            self.forward = self.forward_twice

        def forward_twice(self, x):
            return self.conv(self.conv(x).relu())

    works(Plain(Chooses()), tmp_path, sites=["conv", "conv2.conv"])


def test_what_cannot_be_copied_is_refused():
    model = Plain()
    model.stream = (i for i in range(3))
    with pytest.raises(SurgeryError, match=r"Plain cannot be copied: .*generator"):
        surgeon.apply(model, KAP, input_size=SIZE)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)]
)
def test_other_precisions(dtype, tolerance, tmp_path):
    cut = works(Plain().to(dtype), tmp_path, tolerance=tolerance)
    assert {p.dtype for p in cut.parameters()} == {dtype}


@pytest.mark.parametrize("training", [True, False])
def test_modes_and_frozen_weights_are_kept(training):
    model = Plain().train(training)
    model.norm.eval()
    model.conv2.weight.requires_grad_(False)
    for p in model.head.parameters():
        p.requires_grad_(False)
    modes = {n: m.training for n, m in model.named_modules()}
    frozen = {n: p.requires_grad for n, p in model.named_parameters()}
    cut = surgeon.apply(model, KAP, input_size=SIZE)
    for network in (model, cut, surgeon.fold(cut), surgeon.revert(cut)):
        assert {n: m.training for n, m in network.named_modules() if n in modes} == modes
        assert {n: p.requires_grad for n, p in network.named_parameters() if n in frozen} == frozen
