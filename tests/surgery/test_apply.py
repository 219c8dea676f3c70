"""Planning and applying: data first, the input model untouched, one seed one result."""

import copy

import pytest
import timm
import torch
from torch import nn

import surgeon
from surgeon.edits import Plan
from surgeon.errors import LayerError, RecipeError, SelectionError, SurgeryError

SIZE = (3, 8, 8)


def state(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_plan_is_data_that_survives_json(tiny):
    plan = surgeon.plan(tiny, "kap", input_size=SIZE)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert [e.site for e in plan.edits] == ["input", "conv1", "conv2"]
    assert plan == surgeon.plan(tiny, "kap", input_size=SIZE)
    assert plan.before.parameters == sum(p.numel() for p in tiny.parameters())


def test_a_plan_from_json_gives_the_same_cut(tiny, images):
    plan = surgeon.plan(tiny, "wm-smoothing-all", input_size=SIZE, seed=3)
    direct = surgeon.apply(tiny, "wm-smoothing-all", input_size=SIZE, seed=3)
    again = surgeon.apply(tiny, Plan.model_validate_json(plan.model_dump_json()))
    assert same(state(direct), state(again))
    other = surgeon.apply(tiny, "wm-smoothing-all", input_size=SIZE, seed=4)
    assert not same(state(direct), state(other))


def test_the_input_model_is_left_untouched(tiny, images):
    tiny.train()
    before, modes = state(tiny), [m.training for m in tiny.modules()]
    hooks = len(tiny._forward_pre_hooks)
    names = [n for n, _ in tiny.named_modules()]
    rng = torch.get_rng_state()
    for recipe in ("kap", "anl", "defective", "wm-unsharp-all", "small-image+kap"):
        try:
            surgeon.apply(
                tiny, recipe, input_size=SIZE, calibration=torch.randn(32, *SIZE, generator=torch.Generator())
            )
        except SelectionError:
            assert recipe.startswith("small")
    assert same(before, state(tiny))
    assert [m.training for m in tiny.modules()] == modes
    assert [n for n, _ in tiny.named_modules()] == names
    assert len(tiny._forward_pre_hooks) == hooks
    assert tiny.act1.inplace
    assert torch.equal(torch.get_rng_state(), rng)


def test_weights_are_copied_or_shared_as_asked(tiny):
    copied = surgeon.apply(tiny, "noise", input_size=SIZE)
    shared = surgeon.apply(tiny, "noise", input_size=SIZE, copy=False)
    assert copied.conv1.weight is not tiny.conv1.weight
    assert shared.conv1.weight is tiny.conv1.weight
    assert shared.bn1.running_mean is tiny.bn1.running_mean


def test_sharing_never_writes_statistics_to_the_model(tiny):
    before = state(tiny)
    cut = surgeon.apply(
        tiny, "kap", input_size=SIZE, copy=False, calibration=torch.randn(64, *SIZE), warm_start="sequential"
    )
    assert same(before, state(tiny))
    assert not torch.equal(cut.bn1.running_mean, tiny.bn1.running_mean)
    assert cut.head.weight is tiny.head.weight


def test_surgery_twice_is_an_error_that_names_what_is_there(tiny):
    once = surgeon.apply(tiny, "noise", input_size=SIZE)
    with pytest.raises(SurgeryError, match=r"has had surgery already \(3 × noise\); pass stack=True"):
        surgeon.apply(once, "kap", input_size=SIZE)


def test_stacking_adds_to_what_is_there(tiny, images):
    once = surgeon.apply(tiny, {"op": "kap", "start": "naive"}, input_size=SIZE)
    twice = surgeon.apply(once, {"op": "kap", "start": "naive"}, input_size=SIZE, stack=True)
    assert list(twice.surgery.operations) == ["kap", "kap#2"]
    assert [n.target for n in twice.eval().graph.nodes if n.op == "call_module"][:3] == [
        "conv1",
        "conv1.kap",
        "conv1.kap_2",
    ]
    wanted = once.conv1.kap(once.conv1.kap(once.conv1(images)))
    found = twice.conv1.kap_2(twice.conv1.kap(twice.conv1(images)))
    assert torch.allclose(found, wanted)
    assert torch.allclose(surgeon.fold(twice).eval()(images), twice.eval()(images), atol=1e-6)
    assert torch.equal(surgeon.revert(twice)(images), tiny(images))


def test_several_recipes_in_one_call(tiny, images):
    model = surgeon.apply(tiny, "kap+anl", input_size=SIZE)
    listed = surgeon.apply(tiny, ["kap", {"op": "adversarial-noise"}], input_size=SIZE)
    assert [e.operation for e in model.surgery.edits] == [e.operation for e in listed.surgery.edits]
    assert {e.operation for e in model.surgery.edits} == {"kap", "adversarial-noise"}


def test_a_later_operation_sees_the_sizes_that_an_earlier_one_made():
    model = timm.create_model("resnet18", num_classes=4)
    plan = surgeon.plan(model, "small-image+defective", input_size=(3, 32, 32))
    (edit,) = [e for e in plan.edits if e.site == "bn1"]
    assert edit.settings["size"] == [64, 32, 32]
    rewritten = surgeon.apply(model, plan)
    assert rewritten(torch.randn(2, 3, 32, 32)).shape == (2, 4)


def test_a_later_operation_passes_over_what_an_earlier_one_replaced(tiny):
    plan = surgeon.plan(tiny, ["wm-smoothing", "kap"], input_size=SIZE)
    assert [e.site for e in plan.edits if e.operation == "kap"] == ["input", "conv1"]
    assert ("conv2", "replaced by weight-map") in [(p.site, p.reason) for p in plan.passed_over]


def test_a_plan_for_another_network_is_refused(tiny):
    plan = surgeon.plan(tiny, "noise", input_size=SIZE)
    other = type(tiny)(channels=8)
    with pytest.raises(
        SurgeryError, match=r"the plan was made for Tiny \(fingerprint \w+\), not for this Tiny"
    ):
        surgeon.apply(other, plan)


def test_too_many_parameters_are_refused_before_anything_is_allocated():
    model = timm.create_model("vgg16", num_classes=4)
    plan = surgeon.plan(model, "wm-smoothing-all", input_size=(3, 224, 224))
    assert "too-large" in [n.code for n in plan.notes]
    assert plan.growth.parameters > 500_000_000
    with pytest.raises(
        SurgeryError, match=r"weight-map adds [\d,]+ parameters, over the limit of 500,000,000"
    ):
        surgeon.apply(model, plan)


def test_growth_is_what_is_really_added(tiny):
    for recipe in ("kap", "kap-ensemble", "wm-smoothing-all", "wm-input-scale", "anl", "smooth-init"):
        cut = surgeon.apply(tiny, recipe, input_size=SIZE)
        added = sum(p.numel() for p in cut.parameters()) - sum(p.numel() for p in tiny.parameters())
        assert cut.surgery.growth.parameters == added, recipe


def test_widened_flops_match_a_count_of_the_rewritten_network(tiny):
    from torch.utils.flop_counter import FlopCounterMode

    cut = surgeon.apply(tiny, {"op": "kap", "stride": 3, "widen": True}, input_size=SIZE).eval()
    with FlopCounterMode(display=False) as counter:
        cut(torch.zeros(1, *SIZE))
    convolutions = counter.get_total_flops() - cut.surgery.before.flops
    pooling = sum(16 * 64 * 9 for _ in range(2))
    assert cut.surgery.growth.flops == convolutions + pooling


def test_no_site_is_an_error_that_says_what_there_is():
    model = timm.create_model("convnext_atto")
    with pytest.raises(
        SelectionError,
        match=(
            r"recipe anl, operation adversarial-noise: anl stands after batch norms, and the "
            r"model has none \(17 × LayerNorm2d\)"
        ),
    ):
        surgeon.plan(model, "anl")


def test_an_error_inside_an_operation_names_recipe_and_site(tiny):
    with pytest.raises(
        SelectionError, match=r"kernel_size=7 exceeds the 4x4 sheet of 16 channels; largest odd size is 3"
    ):
        surgeon.apply(tiny, {"op": "kap", "kernel_size": 7}, input_size=SIZE)
    with pytest.raises(RecipeError, match="kernel_size=2 is even"):
        surgeon.apply(tiny, {"op": "kap", "kernel_size": 2}, input_size=SIZE)


def test_pooling_that_changes_the_channels_names_the_node_that_no_longer_fits(tiny):
    with pytest.raises(SurgeryError, match=r"does not fit together at node bn1"):
        surgeon.apply(tiny, {"op": "kap", "stride": 3, "widen": False, "dims": 1}, input_size=SIZE)


def test_pooling_that_changes_the_channels_works_where_it_fits():
    class Free(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3)
            self.scale = nn.Linear(1, 1)

        def forward(self, x):
            return self.scale(self.conv(x).mean((1, 2, 3), keepdim=True))

    cut = surgeon.apply(
        Free(), {"op": "kap", "stride": 3, "widen": False, "select": {"include": "conv"}}, input_size=SIZE
    )
    assert cut.conv.kap(cut.conv(torch.randn(1, *SIZE))).shape[1] == 4


def test_a_wrong_input_size_after_surgery_is_an_error_that_names_the_right_one(tiny):
    for recipe in ("wm-smoothing-all", "defective"):
        cut = surgeon.apply(tiny, recipe, input_size=SIZE)
        with pytest.raises(LayerError, match="8"):
            cut(torch.randn(1, 3, 10, 10))


def test_the_effect_is_stated_and_measured(tiny):
    expected = {
        "anl": "exact",
        "noise": "exact",
        "wm-input-scale": "exact",
        "wm-smoothing": "destroyed",
        "kmp": "destroyed",
    }
    for recipe, effect in expected.items():
        assert surgeon.plan(tiny, recipe, input_size=SIZE).effect == effect
    cut = surgeon.apply(tiny, {"op": "kap", "start": "lstsq"}, input_size=SIZE)
    assert cut.surgery.planned == "approximated" and cut.surgery.effect == "changed"  # noise is no image
    assert cut.surgery.execution.drift.source == "noise" and cut.surgery.execution.drift.relative > 0
    assert set(cut.surgery.execution.residuals) == {"conv1", "conv2"}


def test_a_trained_network_is_recognised(tiny):
    def starts(model, **known):
        plan = surgeon.plan(model, {"op": "kap"}, input_size=SIZE, **known)
        return {e.settings.get("start") for e in plan.edits}

    assert starts(tiny) == {"lstsq"}
    assert starts(type(tiny)()) == {"naive"}
    assert starts(type(tiny)(), trained=True) == {"lstsq"}
    assert starts(tiny, trained=False) == {"naive"}
    assert starts(tiny, calibrated=True) == {"sequential"}


def test_a_module_that_surgery_was_done_to_inside_another_is_refused(tiny):
    outer = nn.Sequential(surgeon.apply(tiny, "noise", input_size=SIZE), nn.Identity())
    with pytest.raises(SurgeryError, match="a part of this model has had surgery by itself"):
        surgeon.plan(outer, "kap", input_size=SIZE)


def test_a_network_without_any_site_is_an_error():
    with pytest.raises(SelectionError, match="no conv site"):
        surgeon.plan(nn.Sequential(nn.Linear(3, 3)), "kap")


def test_the_default_seed_is_independent_of_the_global_one(tiny):
    torch.manual_seed(1)
    one = surgeon.apply(tiny, "kap-ensemble", input_size=SIZE, trained=False)
    torch.manual_seed(2)
    two = surgeon.apply(tiny, "kap-ensemble", input_size=SIZE, trained=False)
    assert same(state(one), state(two))


@pytest.mark.parametrize("copying", [copy.deepcopy, lambda m: m])
def test_apply_works_on_a_copy_and_on_the_model(tiny, copying, images):
    cut = surgeon.apply(copying(tiny), "noise", input_size=SIZE).eval()
    assert torch.equal(cut(images), tiny(images))


def test_a_size_that_the_network_cannot_take_is_refused(tiny):
    with pytest.raises(
        SurgeryError, match=r"Tiny takes images of 3 channels, not of 1: write input_size=\(3, 8, 8\)"
    ):
        surgeon.apply(tiny, "kap", input_size=(1, 8, 8))


def test_the_same_operation_twice_in_one_recipe_is_remarked(tiny):
    plan = surgeon.plan(tiny, "noise+noise", input_size=SIZE)
    assert "noise stands twice at 3 sites" in next(n.text for n in plan.notes if n.code == "twice")
    with pytest.raises(RecipeError, match="joins an empty name"):
        surgeon.plan(tiny, "kap+", input_size=SIZE)


def test_a_plan_reads_as_plain_lines(tiny):
    text = str(surgeon.plan(tiny, "wm-smoothing", input_size=SIZE))
    lines = text.splitlines()
    assert lines[0] == "wm-smoothing on Tiny, input 3×8×8, seed 0"
    assert "conv2  weight-map  replaced  destroyed (train before use)  does not fold" in lines[1]
    assert "passed over 1 × weight-map: every=2, offset=1 skips it" in text
    assert "parameters: " in text and lines[-2].startswith("function: destroyed")
    assert "belong to images of (3, 8, 8): the rewritten network takes no other" in lines[-1]
